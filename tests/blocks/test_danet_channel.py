import pytest
import torch

from stitchwork.analysis import capture
from stitchwork.blocks.danet_channel import ChannelAttention


def weights_of(block, x):
    with capture(block, "softmax") as seen, torch.no_grad():
        block(x)
    return seen["softmax"]


@pytest.mark.parametrize(("most_similar", "sign"), [(False, -1), (True, 1)])
def test_closed_form(most_similar, sign):
    """Two channels of two pixels, (1, 0) and (1, 1): their products are 1, 1 and 1, 2."""
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double().reshape(1, 2, 1, 2)
    block = ChannelAttention(2, most_similar).double()
    block.gamma.data.fill_(0.5)
    weights = (sign * torch.tensor([[1.0, 1.0], [1.0, 2.0]]).double()).softmax(1)
    torch.testing.assert_close(weights_of(block, x)[0], weights)
    torch.testing.assert_close(block(x), x + 0.5 * (weights @ x[0, :, 0])[None, :, None])


def test_attends_to_the_least_similar():
    """A channel, its negative and a stranger: the negative gets nearly all of the weight, the channel itself none."""
    torch.manual_seed(0)
    first, stranger = torch.randn(2, 1, 8, 8).double()
    x = torch.cat([first, -first, 0.1 * stranger])[None]
    weights = weights_of(ChannelAttention(3).double(), x)[0]
    assert weights[0, 1] > 0.99 and weights[0, 0] < 1e-6
    assert weights_of(ChannelAttention(3, most_similar=True).double(), x)[0, 0, 0] > 0.99


def test_starts_as_identity():
    x = torch.randn(2, 16, 5, 6)
    assert torch.equal(ChannelAttention(16)(x), x)


def test_one_parameter():
    assert [tuple(p.shape) for p in ChannelAttention(64).parameters()] == [(1,)]


def test_half_precision_does_not_overflow():
    """The products go up to 100,000, which float16 cannot hold."""
    torch.manual_seed(0)
    block, x = ChannelAttention(8), 5 * torch.randn(1, 8, 64, 64)
    block.gamma.data.fill_(1)
    assert x.flatten(2).square().sum(2).max() > torch.finfo(torch.float16).max
    y = block.half()(x.half())
    assert y.isfinite().all()
