import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import DropPath, MBConv
from stitchwork.weights import load_state_dict_from


def meta(name="efficientnet_b0", **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def blocks_of(model):
    return [m for m in model.modules() if isinstance(m, MBConv)]


def test_table_1():
    """Stage by stage: kernel, stride of the first, channels, repeats."""
    stages = [
        (s[0].depthwise.conv.kernel_size[0], s[0].depthwise.conv.stride[0], s[0].project.conv.out_channels, len(s))
        for s in meta().stages
    ]
    assert stages == [
        (3, 1, 16, 1),
        (3, 2, 24, 2),
        (5, 2, 40, 2),
        (3, 2, 80, 3),
        (5, 1, 112, 3),
        (5, 2, 192, 4),
        (3, 1, 320, 1),
    ]


# Table 2: millions of parameters, billions of multiply-adds, and the pixels of that count.
@pytest.mark.parametrize(
    ("name", "pixels", "parameters", "multiply_adds"),
    [
        ("efficientnet_b0", 224, 5.3, 0.39),
        ("efficientnet_b1", 240, 7.8, 0.70),
        ("efficientnet_b2", 260, 9.2, 1.0),
        ("efficientnet_b3", 300, 12, 1.8),
        ("efficientnet_b4", 380, 19, 4.2),
        ("efficientnet_b5", 456, 30, 9.9),
        ("efficientnet_b6", 528, 43, 19),
        ("efficientnet_b7", 600, 66, 37),
    ],
)
def test_table_2(name, pixels, parameters, multiply_adds):
    model = meta(name)
    assert count_parameters(model) / 1e6 == pytest.approx(parameters, rel=0.025)
    assert count_multiply_adds(model, input_size=(1, 3, pixels, pixels)) / 1e9 == pytest.approx(multiply_adds, rel=0.05)


# By hand from table 1: ceil(3.1 n) blocks and 2 c channels.
def test_b7_by_hand():
    model = meta("efficientnet_b7")
    assert [len(stage) for stage in model.stages] == [4, 7, 7, 10, 10, 13, 4]
    assert [stage[-1].project.conv.out_channels for stage in model.stages] == [32, 48, 80, 160, 224, 384, 640]
    assert (model.stem.conv.out_channels, model.num_features) == (64, 2560)


def test_widths_never_fall_more_than_a_tenth():
    """16 x 1.2 = 19.2 becomes 24 and not 16, which is 17 % less."""
    widths = [stage[-1].project.conv.out_channels for stage in meta("efficientnet_b3").stages]
    assert widths == [24, 32, 48, 96, 136, 232, 384]


def test_depth_rounds_up_and_leaves_stem_and_head():
    deep = meta(depth_multiplier=1.01)
    assert [len(stage) for stage in deep.stages] == [2, 3, 3, 4, 4, 5, 2]
    others = [m for name, m in deep.named_modules() if isinstance(m, nn.Conv2d) and not name.startswith("stages")]
    assert len(others) == 2


@pytest.mark.parametrize(("dim", "expansion", "hidden"), [(16, 6, 4), (24, 1, 6), (2, 6, 1)])
def test_the_gate_is_a_quarter_of_the_input(dim, expansion, hidden):
    assert MBConv(dim, 8, expansion=expansion).se.squeeze.out_channels == hidden


@pytest.mark.parametrize(("dim", "out_dim", "kernel", "expansion"), [(16, 24, 3, 6), (24, 24, 5, 6), (32, 16, 3, 1)])
def test_cost_of_a_block(dim, out_dim, kernel, expansion):
    wide, gate = dim * expansion, dim // 4
    pixels = wide * (dim * (expansion > 1) + kernel**2 + out_dim)
    block = MBConv(dim, out_dim, kernel, expansion=expansion)
    assert count_multiply_adds(block, input_size=(1, dim, 6, 8)) == 48 * pixels + 2 * gate * wide


@pytest.mark.parametrize(
    ("dim", "out_dim", "stride", "shortcut"), [(8, 8, 1, True), (8, 8, 2, False), (8, 12, 1, False)]
)
def test_shortcut_where_the_shape_stays(dim, out_dim, stride, shortcut):
    block = MBConv(dim, out_dim, stride=stride).eval()
    nn.init.zeros_(block.project.norm.weight)
    x = torch.randn(2, dim, 6, 6)
    y = block(x)
    assert y.shape == (2, out_dim, 6 // stride, 6 // stride)
    assert torch.equal(y, x) if shortcut else not y.any()


def test_formula_of_a_block():
    torch.manual_seed(0)
    block = MBConv(8, 8, 5).double().eval()
    x = torch.randn(2, 8, 9, 7, dtype=torch.float64)
    z = block.depthwise(block.expand(x)).detach()
    squeezed = torch.einsum("ec,bc->be", block.se.squeeze.weight[:, :, 0, 0], z.mean((2, 3))) + block.se.squeeze.bias
    squeezed = squeezed * squeezed.sigmoid()
    gate = torch.einsum("ce,be->bc", block.se.excite.weight[:, :, 0, 0], squeezed) + block.se.excite.bias
    expected = block.project(z * gate.sigmoid()[:, :, None, None]) + x
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)
    with torch.no_grad():  # where the gate writes in place
        kept = x.clone()
        torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)
        assert x.equal(kept)


def test_stochastic_depth_grows_with_the_block():
    """The official code's rates: i / 16 of the whole for the i-th of sixteen blocks."""
    rates = [m.rate for m in meta(drop_path_rate=0.2).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.2 * i / 16 for i in range(16)])
    assert not any(m.rate for m in meta().modules() if isinstance(m, DropPath))


def test_dropout_is_published():
    assert [meta(f"efficientnet_b{i}").dropout for i in range(8)] == [0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5]


@pytest.mark.parametrize("name", [f"efficientnet_b{i}" for i in range(8)])
def test_batch_norm_is_published(name):
    """torchvision changes eps and momentum from B5 on."""
    norms = {(m.eps, m.momentum) for m in meta(name).modules() if isinstance(m, nn.BatchNorm2d)}
    assert norms == ({(1e-3, 0.01)} if int(name[-1]) >= 5 else {(1e-5, 0.1)})


TF_NORM = partial(nn.BatchNorm2d, eps=1e-3)


# The norms and paddings that timm's weights were trained with, where they are not torchvision's.
@pytest.mark.parametrize(
    ("name", "published", "arguments", "size"),
    [
        ("efficientnet_b5", "efficientnet_b5", {"norm": nn.BatchNorm2d}, (64, 48)),
        ("efficientnet_b0", "tf_efficientnet_b0", {"norm": TF_NORM, "same_padding": True}, (64, 48)),
        ("efficientnet_b0", "tf_efficientnet_b0", {"norm": TF_NORM, "same_padding": True}, (75, 97)),
    ],
    ids=["eps", "even size", "odd size"],
)
def test_timm(name, published, arguments, size):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = lived_in(timm.create_model(published, num_classes=10))
    ours = create_model(name, num_classes=10, **arguments).eval()
    load_state_dict_from(ours, name, theirs.state_dict(), "timm")
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)
        plain = create_model(name, num_classes=10).eval()
        load_state_dict_from(plain, name, theirs.state_dict(), "timm")
        assert (plain(x) - expected).abs().max() > 1e-3 * expected.std(), "without the arguments it is the same"


def lived_in(network):
    """In evaluation, with statistics that are those of noise."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    network = copy.deepcopy(network).train()
    with torch.no_grad():
        network(torch.randn(4, 3, 96, 96))
    return network.eval()


@pytest.mark.parametrize("arguments", [{"width_multiplier": 0}, {"depth_multiplier": -1.0}])
def test_refusals(arguments):
    with pytest.raises(ValueError, match=f"EfficientNet: {next(iter(arguments))} must be greater than 0; got"):
        create_model("efficientnet_b0", **arguments)


def test_pyramid_follows_the_width():
    model = create_model("efficientnet_b0", width_multiplier=0.5, num_classes=3).eval()
    maps = model.forward_pyramid(torch.randn(1, 3, 70, 45))
    assert tuple(m.shape[1] for m in maps) == model.pyramid_channels == (16, 24, 56, 160)
    assert [tuple(m.shape[2:]) for m in maps] == [(math.ceil(70 / s), math.ceil(45 / s)) for s in (4, 8, 16, 32)]
