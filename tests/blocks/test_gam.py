import pytest
import torch
from torch import nn

from stitchwork.blocks.gam import GlobalAttention


@pytest.fixture
def x():
    return torch.randn(2, 8, 9, 15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gates(block, x):
    seen = {}
    handles = [
        getattr(block, name).register_forward_hook(lambda m, i, output, name=name: seen.update({name: output}))
        for name in ("channel_gate", "spatial_gate")
    ]
    with torch.no_grad():
        block(x)
    for handle in handles:
        handle.remove()
    return seen["channel_gate"], seen["spatial_gate"]


def test_channel_gate_at_every_pixel(x):
    """sigmoid(W2 relu(W1 x + b1) + b2), pixel by pixel."""
    torch.manual_seed(0)
    block = GlobalAttention(8).double().eval()
    squeeze, _, excite = block.channel
    w1, w2 = squeeze.weight[..., 0, 0], excite.weight[..., 0, 0]
    gate, _ = gates(block, x)
    for h in range(9):
        for w in range(15):
            pixel = x[1, :, h, w]
            expected = torch.sigmoid(w2 @ (w1 @ pixel + squeeze.bias).clamp(min=0) + excite.bias)
            torch.testing.assert_close(gate[1, :, h, w], expected)


def test_channel_then_place(x):
    """The spatial gate is computed from the image that the channel gate has scaled."""
    torch.manual_seed(0)
    block = GlobalAttention(8).double().eval()
    channel, spatial = gates(block, x)
    assert channel.shape == spatial.shape == x.shape  # no pooling: a gate for every number
    torch.testing.assert_close(spatial, block.spatial(x * channel).sigmoid())
    torch.testing.assert_close(block(x), x * channel * spatial)


def test_zero_weights_quarter(x):
    block = GlobalAttention(8).double().eval()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), x / 4)


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_reach_of_the_spatial_gate(x, kernel_size):
    """Two convolutions of side k see 2k - 1 pixels."""
    torch.manual_seed(0)
    block = GlobalAttention(8, kernel_size=kernel_size).double().eval()
    other = x.clone()
    other[0, :, 4, 7] += 3
    moved = (gates(block, x)[1] != gates(block, other)[1])[0].any(0)
    assert moved.any(1).sum() == min(2 * kernel_size - 1, 9)
    assert moved.any(0).sum() == 2 * kernel_size - 1


@pytest.mark.parametrize(("dim", "rate", "hidden"), [(64, 4, 16), (67, 4, 16), (24, 8, 3), (2, 4, 1)])
def test_parameters(dim, rate, hidden):
    count = sum(p.numel() for p in GlobalAttention(dim, rate).parameters())
    assert count == 100 * dim * hidden + 4 * hidden + 4 * dim


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 2"):
        GlobalAttention(8, kernel_size=2)
