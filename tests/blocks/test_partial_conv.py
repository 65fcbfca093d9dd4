import pytest
import torch
import torch.nn.functional as F

from stitchwork.analysis import count_multiply_adds
from stitchwork.blocks.partial_conv import PartialConv


@pytest.mark.parametrize(("dim", "n_div"), [(16, 4), (16, 2), (9, 4), (4, 1)])
def test_the_first_channels_are_convolved_and_the_others_pass_bit_for_bit(dim, n_div):
    torch.manual_seed(0)
    block, x = PartialConv(dim, n_div), torch.randn(2, dim, 5, 7)
    y, convolved = block(x), dim // n_div
    assert torch.equal(y[:, convolved:], x[:, convolved:])
    torch.testing.assert_close(y[:, :convolved], F.conv2d(x[:, :convolved], block.conv.weight, padding=1))


def test_by_hand():
    """One channel of four, a kernel that takes the pixel above."""
    block = PartialConv(4)
    with torch.no_grad():
        block.conv.weight.zero_()[0, 0, 0, 1] = 1
    x = torch.arange(8.0).reshape(1, 4, 2, 1)
    assert block(x).flatten().tolist() == [0, 0, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("dim", "n_div"), [(64, 4), (64, 2), (66, 4)])
def test_cost(dim, n_div):
    """1/n^2 of the dense convolution's."""
    block = PartialConv(dim, n_div)
    expected = 9 * (dim // n_div) ** 2
    assert sum(p.numel() for p in block.parameters()) == expected
    assert count_multiply_adds(block, input_size=(1, dim, 6, 10)) == 60 * expected


def test_no_channel_left():
    with pytest.raises(ValueError, match=r"dim must be at least n_div, 4, .* got 3"):
        PartialConv(3)
