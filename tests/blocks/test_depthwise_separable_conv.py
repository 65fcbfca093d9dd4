import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.analysis import count_multiply_adds
from stitchwork.blocks.depthwise_separable_conv import DepthwiseSeparableConv


@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (3, 2), (5, 1), (7, 2)])
def test_is_a_dense_convolution_of_low_rank(kernel_size, stride):
    """Without normalisation and activation it is the convolution with kernel[o, i] = pointwise[o, i] · depthwise[i]."""
    torch.manual_seed(0)
    block = DepthwiseSeparableConv(6, 10, kernel_size, stride, act=nn.Identity).double().eval()
    block.depthwise.norm = block.pointwise.norm = nn.Identity()
    depthwise, pointwise = block.depthwise.conv.weight, block.pointwise.conv.weight
    kernel = torch.stack([torch.stack([pointwise[o, i, 0, 0] * depthwise[i, 0] for i in range(6)]) for o in range(10)])
    x = torch.randn(2, 6, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(block(x), F.conv2d(x, kernel, stride=stride, padding=kernel_size // 2))


def test_channels_are_alone_until_the_pointwise_convolution():
    torch.manual_seed(0)
    block, x = DepthwiseSeparableConv(5).eval(), torch.randn(1, 5, 6, 6)
    other = x.clone()
    other[:, 2] += 1
    assert (block.depthwise(x) != block.depthwise(other)).any((0, 2, 3)).tolist() == [False, False, True, False, False]


def test_normalises_and_activates_twice():
    """Figure 3 of the paper, right: 3x3 depthwise, BN, ReLU, 1x1, BN, ReLU."""
    parts = [type(m) for m in DepthwiseSeparableConv(4).modules() if not list(m.children())]
    assert parts == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2


@pytest.mark.parametrize(("dim", "out_dim", "kernel_size"), [(64, 64, 3), (64, 128, 3), (24, 40, 5)])
def test_cost(dim, out_dim, kernel_size):
    """Section 3.1: 1/C' + 1/k^2 of the multiply-adds of the dense convolution."""
    block = DepthwiseSeparableConv(dim, out_dim, kernel_size)
    shape = (1, dim, 12, 16)
    separable = count_multiply_adds(block, input_size=shape)
    dense = count_multiply_adds(nn.Conv2d(dim, out_dim, kernel_size, padding="same"), input_size=shape)
    assert separable == (dim * kernel_size**2 + dim * out_dim) * 12 * 16
    assert separable / dense == pytest.approx(1 / out_dim + 1 / kernel_size**2)
    assert sum(p.numel() for p in block.parameters()) == dim * kernel_size**2 + dim * out_dim + 2 * dim + 2 * out_dim


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 4"):
        DepthwiseSeparableConv(4, kernel_size=4)
