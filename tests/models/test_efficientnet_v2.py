import copy

import pytest
import torch
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import DropPath, MBConv, SqueezeExcite
from stitchwork.models.efficientnet_v2 import FusedMBConv
from stitchwork.weights import load_state_dict_from


def meta(name="efficientnet_v2_s", **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def described(stage):
    """Block, stride of the first, channels, repeats."""
    fused = isinstance(stage[0], FusedMBConv)
    strided = stage[0].expand if fused else stage[0].depthwise
    last = stage[-1].expand if isinstance(stage[-1].project, nn.Identity) else stage[-1].project
    return ("fused" if fused else "mbconv", strided.conv.stride[0], last.conv.out_channels, len(stage))


def test_table_4():
    assert [described(stage) for stage in meta().stages] == [
        ("fused", 1, 24, 2),
        ("fused", 2, 48, 4),
        ("fused", 2, 64, 4),
        ("mbconv", 2, 128, 6),
        ("mbconv", 1, 160, 9),
        ("mbconv", 2, 256, 15),
    ]
    assert (meta().stem.conv.out_channels, meta().num_features) == (24, 1280)


# Table 7: millions of parameters and billions of multiply-adds, at the paper's sizes for evaluation.
@pytest.mark.parametrize(
    ("name", "pixels", "parameters", "multiply_adds"),
    [("efficientnet_v2_s", 384, 22, 8.8), ("efficientnet_v2_m", 480, 54, 24), ("efficientnet_v2_l", 480, 120, 53)],
)
def test_table_7(name, pixels, parameters, multiply_adds):
    model = meta(name)
    assert count_parameters(model) / 1e6 == pytest.approx(parameters, rel=0.03)
    assert count_multiply_adds(model, input_size=(1, 3, pixels, pixels)) / 1e9 == pytest.approx(multiply_adds, rel=0.06)


def test_kernels_are_3x3():
    for name in ("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"):
        sizes = {m.kernel_size[0] for m in meta(name).modules() if isinstance(m, nn.Conv2d)}
        assert sizes == {1, 3}


def test_where_the_gates_are():
    """Only MBConv has them, with a quarter of the block's input."""
    model = meta()
    assert not [m for stage in model.stages[:3] for m in stage.modules() if isinstance(m, SqueezeExcite)]
    gates = {block.se.squeeze.out_channels for stage in model.stages[3:] for block in stage}
    assert gates == {64 // 4, 128 // 4, 160 // 4, 256 // 4}


@pytest.mark.parametrize(("dim", "out_dim", "stride", "expansion"), [(16, 24, 2, 4), (24, 24, 1, 4), (24, 24, 1, 1)])
def test_cost_of_a_fused_block(dim, out_dim, stride, expansion):
    pixels = 6 * 8 // stride**2
    hidden = expansion * dim
    by_hand = pixels * (9 * dim * hidden + hidden * out_dim) if expansion > 1 else pixels * 9 * dim * out_dim
    block = FusedMBConv(dim, out_dim, stride, expansion)
    assert count_multiply_adds(block, input_size=(1, dim, 6, 8)) == by_hand


@pytest.mark.parametrize("expansion", [1, 4])
@pytest.mark.parametrize(
    ("dim", "out_dim", "stride", "shortcut"), [(8, 8, 1, True), (8, 8, 2, False), (8, 12, 1, False)]
)
def test_shortcut_where_the_shape_stays(dim, out_dim, stride, shortcut, expansion):
    block = FusedMBConv(dim, out_dim, stride, expansion).eval()
    nn.init.zeros_((block.project if expansion > 1 else block.expand).norm.weight)
    x = torch.randn(2, dim, 6, 6)
    y = block(x)
    assert y.shape == (2, out_dim, 6 // stride, 6 // stride)
    assert torch.equal(y, x) if shortcut else not y.any()


def test_projection_is_linear():
    torch.manual_seed(0)
    y = FusedMBConv(8, 12)(torch.randn(4, 8, 10, 10))
    assert y.amin((0, 2, 3)).max() < -0.5 and (y.detach().std() - 1).abs() < 0.1


def test_without_expansion_there_is_an_activation():
    """SiLU never falls below -0.28."""
    y = FusedMBConv(8, 12, expansion=1)(torch.randn(4, 8, 10, 10))
    assert -0.28 < y.min() < -0.2


def test_stochastic_depth_grows_with_the_block():
    model = meta(drop_path_rate=0.2)
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.2 * i / 40 for i in range(40)])
    assert len([m for m in model.modules() if isinstance(m, MBConv | FusedMBConv)]) == 40


def test_dropout_is_published():
    assert [meta(f"efficientnet_v2_{size}").dropout for size in "sml"] == [0.2, 0.3, 0.4]


# timm's own network has another eps; its published weights have another padding.
@pytest.mark.parametrize(
    ("published", "arguments"),
    [("efficientnetv2_s", {"norm": nn.BatchNorm2d}), ("tf_efficientnetv2_s", {"same_padding": True})],
)
def test_timm(published, arguments):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model(published, num_classes=10)
    for norm in theirs.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    theirs = copy.deepcopy(theirs).train()
    with torch.no_grad():
        theirs(torch.randn(4, 3, 96, 96))
        theirs.eval()
        ours, plain = (create_model("efficientnet_v2_s", num_classes=10, **a).eval() for a in (arguments, {}))
        for model in (ours, plain):
            load_state_dict_from(model, "efficientnet_v2_s", theirs.state_dict(), "timm")
        x = torch.randn(2, 3, 64, 48)
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)
        assert (plain(x) - expected).abs().max() > 1e-3 * expected.std(), "without the argument it is the same"
