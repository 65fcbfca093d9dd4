import math

import pytest
import torch
from timm.layers import EcaModule

from stitchwork.blocks.eca import EfficientChannelAttention, adaptive_kernel_size


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8, 31, 32, 64, 127, 128, 256, 1000, 1024, 2048, 4096])
def test_kernel_size_is_the_nearest_odd_number(dim):
    exact = math.log2(dim) / 2 + 1 / 2
    nearest = min(range(1, 99, 2), key=lambda k: (abs(k - exact), -k))  # of two as near, the larger
    assert adaptive_kernel_size(dim) == nearest
    assert EfficientChannelAttention(dim).conv.kernel_size == (nearest,)


def test_kernel_grows_with_the_channels():
    """Copies have 3 throughout."""
    assert [adaptive_kernel_size(dim) for dim in (4, 64, 128, 1024, 2048)] == [1, 3, 5, 5, 7]


def test_closed_form():
    """Four channels with means 1, 2, 3, 4; kernel (1, 10, 100); zeros beyond both ends."""
    block = EfficientChannelAttention(4, kernel_size=3).double()
    block.conv.weight.data.copy_(torch.tensor([1.0, 10.0, 100.0]) / 100)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)[:, None, None] * torch.ones(1, 4, 2, 3).double()
    x[..., 0] += 1.5
    x[..., 1] -= 1.5
    logits = torch.tensor([0 + 10 + 200, 1 + 20 + 300, 2 + 30 + 400, 3 + 40 + 0], dtype=torch.float64) / 100
    torch.testing.assert_close(block(x), x * logits.sigmoid()[:, None, None])


@pytest.mark.parametrize("dim", [8, 64, 100, 256])
def test_equals_timms(dim):
    torch.manual_seed(0)
    theirs, ours = EcaModule(dim).double(), EfficientChannelAttention(dim).double()
    ours.load_state_dict(theirs.state_dict())
    x = 3 * torch.randn(2, dim, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_channel_hears_its_neighbours_only(kernel_size):
    torch.manual_seed(0)
    block, x = EfficientChannelAttention(16, kernel_size), torch.randn(1, 16, 3, 3)
    other = x.clone()
    other[:, 8] += 2
    with torch.no_grad():
        gates = [(block(image) / image)[0, :, 0, 0] for image in (x, other)]
    moved = ((gates[0] - gates[1]).abs() > 1e-5).nonzero().flatten().tolist()
    assert moved == list(range(8 - kernel_size // 2, 8 + kernel_size // 2 + 1))


@pytest.mark.parametrize(("arguments", "count"), [({}, 3), ({"kernel_size": 7}, 7)])
def test_parameters(arguments, count):
    assert sum(p.numel() for p in EfficientChannelAttention(64, **arguments).parameters()) == count


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel_size must be odd.*got 4"):
        EfficientChannelAttention(64, kernel_size=4)
