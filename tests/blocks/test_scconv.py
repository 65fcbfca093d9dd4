import pytest
import torch
from torch import nn

from stitchwork.blocks.scconv import ChannelReconstruction, SCConv, SpatialReconstruction


def test_spatial_unit_by_hand():
    """Two channels of two pixels, normalised to -1 and 1 each; shares 3/4 and 1/4 of the scales.

    Channel 0 is (0, 2), channel 1 is (6, 4): the second pixel of the one and the first of the other are informative.
    """
    unit = SpatialReconstruction(2, num_groups=2).double()
    unit.norm.eps = 0.0
    with torch.no_grad():
        unit.norm.weight.copy_(torch.tensor([3.0, 1.0]))
    y = unit(torch.tensor([[[[0.0, 2.0]], [[6.0, 4.0]]]], dtype=torch.float64))
    # The logits are the normalised pixel times scale times share: -/+ 3 * 3/4 and +/- 1 * 1/4.
    dim_0, dim_1 = (
        0.0 * torch.sigmoid(torch.tensor(-2.25)),
        4.0 * torch.sigmoid(torch.tensor(-0.25, dtype=torch.float64)),
    )
    expected = [dim_0 + 0.0, 2.0 + dim_1, 6.0 + dim_0, dim_1 + 0.0]
    torch.testing.assert_close(y.flatten(), torch.tensor(expected, dtype=torch.float64))


def test_nothing_is_lost_in_the_spatial_unit():
    """What a channel gives away arrives half the channels further: the sum is that of x1 and x2, equation 4."""
    torch.manual_seed(0)
    unit, x = SpatialReconstruction(8), torch.randn(2, 8, 5, 6)
    logits = unit.norm(x) / 8
    loud = torch.where(logits > 0, 1.0, logits.sigmoid())
    quiet = torch.where(logits > 0, 0.0, logits.sigmoid())
    torch.testing.assert_close(unit(x).sum(1), ((loud + quiet) * x).sum(1))


def test_threshold_moves_the_mask():
    """With a gate that must be above 0.9, hardly a pixel is informative, and nearly all go both ways, dimmed."""
    torch.manual_seed(0)
    unit, x = SpatialReconstruction(8, gate_threshold=0.9), torch.randn(1, 8, 4, 4)
    dimmed = x * unit.gate(unit.norm(x) / 8)
    torch.testing.assert_close(unit(x), dimmed + dimmed.roll(4, 1))


def weights_of(unit, x):
    """What the softmax gives: (B, 2, C)."""
    seen = []
    assert isinstance(unit.gate, nn.Softmax)
    handle = unit.gate.register_forward_hook(lambda m, inputs, output: seen.append(output))
    with torch.no_grad():
        unit(x)
    handle.remove()
    return seen[0]


def test_branches_are_weighed_against_each_other_in_every_channel():
    """Equation 8: two weights that sum to one, not 2 C of them; equal means give a half each."""
    torch.manual_seed(0)
    unit = ChannelReconstruction(16)
    weights = weights_of(unit, torch.randn(2, 16, 5, 5))
    assert weights.shape == (2, 2, 16)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 16))
    for parameter in unit.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(weights_of(unit, torch.randn(2, 16, 5, 5)), torch.full((2, 2, 16), 0.5))


@pytest.mark.parametrize(
    ("dim", "alpha", "squeeze_ratio", "groups", "kernel_size"),
    [(64, 0.5, 2, 2, 3), (48, 0.75, 2, 2, 5), (64, 0.5, 4, 4, 3)],
)
def test_parameters(dim, alpha, squeeze_ratio, groups, kernel_size):
    """Equation 11 of the paper, with the bias of GWC and the normalisation."""
    block = SCConv(dim, alpha=alpha, squeeze_ratio=squeeze_ratio, groups=groups, kernel_size=kernel_size)
    front, back = int(alpha * dim), dim - int(alpha * dim)
    rich, cheap = front // squeeze_ratio, back // squeeze_ratio
    expected = front * rich + back * cheap + kernel_size**2 * rich * dim // groups + dim + rich * dim
    expected += cheap * (dim - cheap) + 2 * dim
    assert sum(p.numel() for p in block.parameters()) == expected


def test_output_keeps_its_scale():
    """One softmax over all 2 C means would make it tens of times too small."""
    torch.manual_seed(0)
    x = torch.randn(4, 64, 16, 16)
    assert SCConv(64)(x).std() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 66}, r"dim must be a multiple of num_groups=4; got dim=66"),
        ({"dim": 15, "num_groups": 5, "groups": 1}, r"dim must be a multiple of halves=2; got dim=15"),
        ({"dim": 12, "num_groups": 2, "groups": 2}, r"leave 3 rich and 3 cheap channels of dim=12; .* groups=2"),
        ({"dim": 64, "alpha": 1.0}, r"alpha must be less than 1; got 0.5 and 1.0"),
        ({"dim": 64, "gate_threshold": 1.5}, r"must be less than 1; got 1.5"),
        ({"dim": 64, "kernel_size": 4}, r"kernel_size must be odd .* got 4"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        SCConv(**arguments)
