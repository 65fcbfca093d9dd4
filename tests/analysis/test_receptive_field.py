"""Receptive fields against geometry and against published numbers."""

import copy

import pytest
import torch
from torch import nn

from stitchwork.analysis import effective_receptive_field, gradient_support, theoretical_receptive_field

VGG16 = [layer for convs in (2, 2, 3, 3, 3) for layer in [(3, 1)] * convs + [(2, 2)]]
ALEXNET = [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]
MOBILENET_V1 = [(3, 2)] + [(3, s) for s in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)]


@pytest.mark.parametrize(
    ("layers", "field"),
    [
        ([], 1),
        ([(1, 1)], 1),
        ([(3, 1), (3, 1)], 5),
        ([(3, 1, 2)], 5),
        ([(3, 2), (3, 1)], 7),
        ([(7, 2), (3, 2)], 11),
        # Araujo, Norris, Sim: Computing receptive fields of convolutional neural networks. Distill 2019, table 1.
        (ALEXNET, 195),
        (VGG16, 212),
        (MOBILENET_V1, 315),
    ],
)
def test_theoretical_field(layers, field):
    assert theoretical_receptive_field(layers) == field


@pytest.mark.parametrize("layer", [(3,), (3, 0), (3, 1, 1, 1)])
def test_theoretical_field_of_what_is_no_layer(layer):
    with pytest.raises(ValueError, match=r"\(kernel, stride\) or \(kernel, stride, dilation\)"):
        theoretical_receptive_field([layer])


def box(support) -> tuple[int, int, int, int]:
    """First and last row, first and last column."""
    rows, columns = support.nonzero().unbind(1)
    return rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()


def test_support_of_a_convolution_is_its_kernel():
    support = gradient_support(nn.Conv2d(4, 4, 3, padding=1), (1, 4, 9, 14))
    assert support.dtype == torch.bool and support.shape == (9, 14)
    assert support.sum() == 9
    assert box(support) == (3, 5, 6, 8)


def test_support_of_a_dilated_convolution_has_holes():
    support = gradient_support(nn.Conv2d(1, 1, 3, padding=2, dilation=2), (1, 1, 9, 9))
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[2:7:2, 2:7:2] = True
    assert support.equal(expected)


def test_support_of_a_global_average_is_everything():
    assert gradient_support(nn.AdaptiveAvgPool2d(1), (1, 2, 5, 6)).all()


def test_support_of_logits_is_everything():
    assert gradient_support(nn.Sequential(nn.Flatten(), nn.Linear(60, 10)), (1, 2, 5, 6)).all()


def test_support_agrees_with_the_theory():
    net = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 2, dilation=2))
    top, bottom, left, right = box(gradient_support(net, (1, 2, 41, 41)))
    assert bottom - top + 1 == right - left + 1 == theoretical_receptive_field([(3, 2), (3, 1), (3, 1, 2)])


def test_one_input_is_not_enough_where_a_relu_may_be_off():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.ReLU())
    alone = [gradient_support(net, (1, 1, 9, 9), samples=1, seed=seed).sum().item() for seed in range(10)]
    assert 0 in alone
    assert gradient_support(net, (1, 1, 9, 9), samples=20).sum() == 9


def test_a_maximum_needs_several_inputs():
    pool = nn.MaxPool2d(3, 1, 1)
    assert gradient_support(pool, (1, 1, 9, 9), samples=1).sum() == 1
    assert gradient_support(pool, (1, 1, 9, 9), samples=200).sum() == 9


def test_what_does_not_depend_on_the_input():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones(1, 1, 5, 5, requires_grad=True)

    assert not gradient_support(Constant(), (1, 1, 5, 5)).any()
    assert not effective_receptive_field(Constant(), (1, 1, 5, 5)).any()


def test_tiny_gradients_are_not_lost():
    net = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3)])
    for layer in net:
        nn.init.constant_(layer.weight, 1e-20)  # the product, 1e-60, is zero in float32
    assert gradient_support(net, (1, 1, 11, 11)).sum() == 49


@pytest.mark.parametrize("measure", [gradient_support, effective_receptive_field])
def test_the_module_is_left_as_it_was(measure):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        measure(net, (1, 1, 8, 8))
    assert net.training and all(part.training for part in net)
    assert all(p.grad is None and p.dtype == torch.float32 for p in net.parameters())
    assert all(before[key].equal(value) for key, value in net.state_dict().items())


@pytest.mark.parametrize("measure", [gradient_support, effective_receptive_field])
@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (((3, 8, 8),), r"\(1, C, H, W\); got \(3, 8, 8\)"),
        (((2, 3, 8, 8),), r"\(1, C, H, W\); got \(2, 3, 8, 8\)"),
        (((1, 3, 8, 8), 0), "samples must be at least 1; got 0"),
    ],
)
def test_bad_arguments(measure, numbers, message):
    with pytest.raises(ValueError, match=message):
        measure(nn.Conv2d(3, 3, 1), *numbers)


def test_the_field_of_one_filter_is_the_filter():
    conv = nn.Conv2d(1, 1, 3, padding=1)
    field = effective_receptive_field(conv, (1, 1, 7, 8))
    weight = conv.weight[0, 0].abs().detach()
    torch.testing.assert_close(field[2:5, 3:6], weight / weight.max())
    assert field.sum() == pytest.approx(field[2:5, 3:6].sum().item())


def test_the_field_of_a_stack_is_the_convolution_of_its_filters():
    net = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3)])
    for layer in net:
        nn.init.constant_(layer.weight, 1.0)
    row = torch.tensor([1.0, 3, 6, 7, 6, 3, 1])  # (1 + z + z^2)^3
    field = effective_receptive_field(net, (1, 1, 7, 7))
    torch.testing.assert_close(field, row[:, None] * row / 49)


def test_channels_of_opposite_sign_do_not_cancel():
    conv = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
    assert effective_receptive_field(conv, (1, 1, 3, 3), samples=20)[1, 1] == 1
