import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.layers import ConvNormAct, SamePad2d


# By TensorFlow's rule: (positions - 1) stride + kernel - size zeros, the smaller half in front.
@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "before", "after"),
    [
        (8, 3, 2, 0, 1),
        (9, 3, 2, 1, 1),
        (8, 5, 2, 1, 2),
        (9, 5, 2, 2, 2),
        (8, 3, 1, 1, 1),
        (8, 1, 2, 0, 0),
        (1, 3, 2, 1, 1),
    ],
)
def test_zeros_on_either_side(size, kernel_size, stride, before, after):
    x = torch.ones(1, 1, size, 6)
    padded = SamePad2d(kernel_size, stride)(x)[0, 0].sum(1)
    assert padded.tolist() == [0] * before + [6.0] * size + [0] * after


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 6), (1, 7)])
@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 3, 1), (3, 2, 2)])
def test_size(kernel_size, stride, dilation, height, width):
    layer = ConvNormAct(2, 3, kernel_size, stride, dilation=dilation, same_padding=True)
    y = layer(torch.randn(2, 2, height, width))
    assert y.shape == (2, 3, math.ceil(height / stride), math.ceil(width / stride))


def test_the_kernel_looks_further_down_and_right():
    layer = ConvNormAct(1, 1, 3, 2, act=None, same_padding=True).eval()
    nn.init.ones_(layer.conv.weight)
    counts = layer(torch.ones(1, 1, 4, 4))[0, 0]
    torch.testing.assert_close(counts, torch.tensor([[9.0, 6], [6, 4]]) / math.sqrt(1 + 1e-5))


def test_without_stride_it_is_the_symmetric_one():
    ours, other = ConvNormAct(2, 3, 5, same_padding=True), ConvNormAct(2, 3, 5)
    other.load_state_dict(ours.state_dict())
    x = torch.randn(1, 2, 8, 9)
    assert [type(part) for part in ours] == [type(part) for part in other]
    assert ours(x).equal(other(x))


def test_it_stays_when_the_normalisation_is_folded():
    layer = ConvNormAct(2, 3, 3, 2, same_padding=True).double().eval()
    nn.init.uniform_(layer.norm.running_var, 0.5, 1.5)
    x = torch.randn(1, 2, 8, 9, dtype=torch.float64)
    torch.testing.assert_close(layer.fused()(x), layer(x))
    expected = F.relu(layer.norm(F.conv2d(F.pad(x, (1, 1, 0, 1)), layer.conv.weight, stride=2)))
    torch.testing.assert_close(layer(x), expected)
