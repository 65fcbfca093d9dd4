import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.layers import ConvNormAct, ReLU6


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
def test_size(kernel_size, stride, dilation):
    layer = ConvNormAct(3, 4, kernel_size, stride, dilation=dilation)
    for height, width in ((16, 16), (17, 30), (8, 1)):
        assert layer(torch.randn(2, 3, height, width)).shape == (
            2,
            4,
            math.ceil(height / stride),
            math.ceil(width / stride),
        )


def test_padding_is_on_every_side():
    """A kernel of ones counts the pixels of an image of ones that it meets: fewer at the border, alike on all sides."""
    layer = ConvNormAct(1, 1, 3, act=None).eval()
    nn.init.ones_(layer.conv.weight)
    counts = layer(torch.ones(1, 1, 4, 4))[0, 0]
    expected = torch.tensor([[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]) / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(counts, expected)


def test_formula():
    layer = ConvNormAct(4, 6, 3, 2, groups=2, dilation=2, act=ReLU6).double().eval()
    for statistic in (layer.norm.running_mean, layer.norm.running_var, layer.norm.weight, layer.norm.bias):
        nn.init.uniform_(statistic, 0.5, 1.5)
    x = 20 * torch.randn(2, 4, 9, 10, dtype=torch.float64)
    y = F.conv2d(x, layer.conv.weight, None, 2, 2, 2, 2)
    mean, var, scale, shift = (
        t[:, None, None] for t in (layer.norm.running_mean, layer.norm.running_var, layer.norm.weight, layer.norm.bias)
    )
    expected = ((y - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(0, 6)
    assert (expected == 6).any() and (expected == 0).any()
    torch.testing.assert_close(layer(x), expected)


def test_parts():
    layer = ConvNormAct(8, 8, 3, groups=8)
    assert layer.conv.bias is None
    assert layer.conv.weight.shape == (8, 1, 3, 3)
    assert [type(part) for part in layer] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert [type(part) for part in ConvNormAct(8, 8, act=None)] == [nn.Conv2d, nn.BatchNorm2d]


def test_no_activation_is_linear():
    layer = ConvNormAct(3, 5, 3, act=None).double().eval()
    x, y = torch.randn(2, 1, 3, 6, 6, dtype=torch.float64)
    zero = layer(torch.zeros_like(x))
    torch.testing.assert_close(layer(x + 2 * y) - zero, layer(x) - zero + 2 * (layer(y) - zero))
