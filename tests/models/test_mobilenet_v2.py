import pytest
import torch
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.models.mobilenet_v2 import InvertedResidual


def meta(name="mobilenet_v2", **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


# Table 4: million multiply-adds at 224 pixels; the paper rounds them.
@pytest.mark.parametrize(("name", "multiply_adds"), [("mobilenet_v2", 300), ("mobilenet_v2_140", 585)])
def test_table_4(name, multiply_adds):
    count = count_multiply_adds(meta(name), input_size=(1, 3, 224, 224))
    assert count / 1e6 == pytest.approx(multiply_adds, rel=0.01)


def test_parameters_of_table_4():
    assert count_parameters(meta()) / 1e6 == pytest.approx(3.4, abs=0.15)


def test_table_2():
    """Channels and stride of every bottleneck."""
    blocks = [m for m in meta().modules() if isinstance(m, InvertedResidual)]
    depthwise = [
        (b.depthwise.conv.in_channels, b.depthwise.conv.stride[0], b.project.conv.out_channels) for b in blocks
    ]
    assert depthwise == [
        *[(32, 1, 16)],
        *[(96, 2, 24), (144, 1, 24)],
        *[(144, 2, 32), (192, 1, 32), (192, 1, 32)],
        *[(192, 2, 64), (384, 1, 64), (384, 1, 64), (384, 1, 64)],
        *[(384, 1, 96), (576, 1, 96), (576, 1, 96)],
        *[(576, 2, 160), (960, 1, 160), (960, 1, 160)],
        *[(960, 1, 320)],
    ]


# Section 5.1: the last convolution keeps its width where the multiplier is below 1.
@pytest.mark.parametrize(("alpha", "features"), [(0.35, 1280), (1.0, 1280), (1.4, 1792)])
def test_width_of_the_head(alpha, features):
    assert meta(width_multiplier=alpha).num_features == features


@pytest.mark.parametrize(
    ("dim", "out_dim", "stride", "shortcut"), [(8, 8, 1, True), (8, 8, 2, False), (8, 12, 1, False)]
)
def test_shortcut_where_the_shape_stays(dim, out_dim, stride, shortcut):
    block = InvertedResidual(dim, out_dim, stride).eval()
    for p in block.parameters():
        nn.init.zeros_(p)
    x = torch.randn(2, dim, 6, 6)
    y = block(x)
    assert y.shape == (2, out_dim, 6 // stride, 6 // stride)
    assert torch.equal(y, x) if shortcut else not y.any()


def test_projection_is_linear():
    """Nothing is cut off on the narrow side: with ReLU6 there, the minimum would be 0."""
    torch.manual_seed(0)
    block, x = InvertedResidual(8, 12), torch.randn(4, 8, 10, 10)
    y = block(x)
    assert y.amin((0, 2, 3)).max() < -0.5 and (y.detach().std() - 1).abs() < 0.1
    assert not [m for m in block.project if isinstance(m, nn.ReLU | nn.ReLU6)]


def test_first_expands_by_one():
    """With t = 1 the expanding convolution is left out."""
    block = InvertedResidual(8, 4, expansion=1)
    assert len([m for m in block.modules() if isinstance(m, nn.Conv2d)]) == 2


@pytest.mark.parametrize(("dim", "out_dim", "expansion"), [(16, 24, 6), (24, 24, 6), (32, 16, 1)])
def test_cost(dim, out_dim, expansion):
    """Section 3.3: h · w · t · C (C + k² + C') at stride 1, the expansion's share only where there is one."""
    cost = count_multiply_adds(InvertedResidual(dim, out_dim, 1, expansion), input_size=(1, dim, 6, 8))
    assert cost == 6 * 8 * expansion * dim * (dim * (expansion > 1) + 9 + out_dim)
