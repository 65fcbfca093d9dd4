import pytest
import timm
import torch
import torchvision
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import Hardswish, make_divisible
from stitchwork.models.mobilenet_v3 import InvertedResidual
from stitchwork.weights import load_state_dict_from

NAMES = ("mobilenet_v3_large", "mobilenet_v3_small")
# Tables 1 and 2, column by column: kernel, expansion, output, SE, non-linearity, stride.
TABLES = {
    "mobilenet_v3_large": """
        3 16 16 - RE 1 | 3 64 24 - RE 2 | 3 72 24 - RE 1 | 5 72 40 SE RE 2 | 5 120 40 SE RE 1 | 5 120 40 SE RE 1
        | 3 240 80 - HS 2 | 3 200 80 - HS 1 | 3 184 80 - HS 1 | 3 184 80 - HS 1 | 3 480 112 SE HS 1
        | 3 672 112 SE HS 1 | 5 672 160 SE HS 2 | 5 960 160 SE HS 1 | 5 960 160 SE HS 1""",
    "mobilenet_v3_small": """
        3 16 16 SE RE 2 | 3 72 24 - RE 2 | 3 88 24 - RE 1 | 5 96 40 SE HS 2 | 5 240 40 SE HS 1 | 5 240 40 SE HS 1
        | 5 120 48 SE HS 1 | 5 144 48 SE HS 1 | 5 288 96 SE HS 2 | 5 576 96 SE HS 1 | 5 576 96 SE HS 1""",
}


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def row(block):
    conv = block.depthwise.conv
    gate = "-" if isinstance(block.gate, nn.Identity) else "SE"
    (act,) = {type(part.act) for part in (block.expand, block.depthwise) if not isinstance(part, nn.Identity)}
    return (
        f"{conv.kernel_size[0]} {conv.out_channels} {block.project.conv.out_channels} {gate} "
        f"{ {nn.ReLU: 'RE', Hardswish: 'HS'}[act] } {conv.stride[0]}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_tables_1_and_2(name):
    blocks = [m for m in meta(name).modules() if isinstance(m, InvertedResidual)]
    assert [row(block) for block in blocks] == [" ".join(r.split()) for r in TABLES[name].split("|")]


# Table 3: parameters and multiply-adds in millions, rounded by the paper.
@pytest.mark.parametrize(("name", "parameters", "multiply_adds"), [(NAMES[0], 5.4, 219), (NAMES[1], 2.5, 56)])
def test_table_3(name, parameters, multiply_adds):
    model = meta(name)
    assert count_parameters(model) / 1e6 == pytest.approx(parameters, rel=0.03)
    assert count_multiply_adds(model, input_size=(1, 3, 224, 224)) / 1e6 == pytest.approx(multiply_adds, rel=0.02)


@pytest.mark.parametrize(
    ("name", "channels"), [(NAMES[0], (24, 40, 112, 160)), (NAMES[1], (16, 24, 48, 96))], ids=NAMES
)
def test_a_map_of_the_pyramid_is_the_last_before_the_next_stride(name, channels):
    assert meta(name).pyramid_channels == channels


@pytest.mark.parametrize(("hidden", "width"), [(16, 8), (72, 24), (96, 24), (120, 32), (672, 168), (960, 240)])
def test_the_gates_width_is_a_quarter_rounded_to_eight(hidden, width):
    assert InvertedResidual(16, hidden, 16).gate.squeeze.out_channels == width == make_divisible(hidden / 4)


def test_hard_swish_is_three_straight_lines_times_x():
    x = torch.tensor([-4.0, -3.0, -1.5, 0.0, 1.0, 3.0, 5.0])
    expected = torch.tensor([0.0, 0.0, -0.375, 0.0, 2 / 3, 3.0, 5.0])
    torch.testing.assert_close(Hardswish()(x.clone()), expected)


def test_hard_swish_overwrites_in_evaluation_only():
    act, x = Hardswish(), torch.randn(5)
    assert act.train()(x).data_ptr() != x.data_ptr()
    assert act.eval()(x).data_ptr() == x.data_ptr()


def test_the_gate_stands_behind_the_activation():
    """It averages numbers of which none is below -3/8, the least that h-swish gives."""
    torch.manual_seed(0)
    block, seen = InvertedResidual(8, 32, 8), []
    block.gate.register_forward_pre_hook(lambda gate, inputs: seen.append(inputs[0].detach().clone()))
    block(torch.randn(4, 8, 9, 9))
    assert -0.3751 < seen[0].min() < -0.37 and seen[0].max() > 2


def test_the_gate_is_closed_and_open_by_three():
    """h-sigmoid is 0 from -3 down and 1 from 3 up, so that a gate can be shut for good."""
    block, x = InvertedResidual(8, 32, 12).eval(), torch.randn(2, 8, 5, 5)
    nn.init.zeros_(block.gate.excite.weight)
    outputs = {}
    for bias in (-3.0, 3.0, 50.0):
        nn.init.constant_(block.gate.excite.bias, bias)
        outputs[bias] = block(x)
    assert not outputs[-3.0].any() and outputs[3.0].any()
    torch.testing.assert_close(outputs[3.0], outputs[50.0])


@pytest.mark.parametrize(
    ("dim", "out_dim", "stride", "shortcut"), [(8, 8, 1, True), (8, 8, 2, False), (8, 12, 1, False)]
)
def test_shortcut_where_the_shape_stays(dim, out_dim, stride, shortcut):
    block = InvertedResidual(dim, 24, out_dim, stride=stride).eval()
    for p in block.parameters():
        nn.init.zeros_(p)
    x = torch.randn(2, dim, 6, 6)
    y = block(x)
    assert torch.equal(y, x) if shortcut else not y.any()


@pytest.mark.parametrize(("dim", "hidden", "out_dim", "kernel_size"), [(24, 72, 40, 5), (16, 16, 16, 3)])
def test_cost(dim, hidden, out_dim, kernel_size):
    """The docstring's formula; the expansion's share only where there is one."""
    cost = count_multiply_adds(InvertedResidual(dim, hidden, out_dim, kernel_size), input_size=(1, dim, 6, 8))
    gate = make_divisible(hidden / 4)
    assert cost == 48 * hidden * (dim * (hidden != dim) + kernel_size**2 + out_dim) + 2 * hidden * gate


def settled(network):
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            part.momentum = 1.0
    network.train()(torch.randn(4, 3, 64, 64))
    return network.eval()


@pytest.mark.parametrize("name", NAMES)
def test_timm_has_the_same_network_with_a_smaller_eps(name):
    """With eps=1e-5 timm's weights give timm's logits; with the default of 1e-3 they give others."""
    theirs = settled(timm.create_model(name.replace("mobilenet_v3", "mobilenetv3") + "_100"))
    x, differences = torch.randn(2, 3, 64, 48), {}
    for eps in (1e-5, 1e-3):
        ours = create_model(name, eps=eps).eval()
        load_state_dict_from(ours, name, theirs.state_dict(), "timm")
        with torch.no_grad():
            differences[eps] = ((ours(x) - theirs(x)).abs().max() / theirs(x).std()).item()
    assert differences[1e-5] < 1e-4 < 1e-3 < differences[1e-3]


def test_other_widths_are_torchvisions():
    theirs = settled(torchvision.models.mobilenet_v3_small(width_mult=0.75, num_classes=10))
    ours = create_model("mobilenet_v3_small", num_classes=10, width_multiplier=0.75).eval()
    load_state_dict_from(ours, "mobilenet_v3_small", theirs.state_dict(), "torchvision")
    x = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
