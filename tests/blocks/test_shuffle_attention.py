import pytest
import torch
from torch import nn

from stitchwork.blocks.shuffle_attention import ShuffleAttention


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = ShuffleAttention(24, groups=3).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block


@pytest.fixture
def x():
    return torch.randn(2, 24, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def unshuffled(y):
    """The channels in the order in which they came in: s C/2 + j is found at 2j + s."""
    half = y.shape[1] // 2
    return torch.stack([y[:, 2 * (c % half) + c // half] for c in range(2 * half)], 1)


def test_equals_the_equations_channel_by_channel(block, x):
    """Three groups of eight channels: the first four gated by their mean, the last four pixel by pixel."""
    y = torch.empty_like(x)
    for c in range(24):
        inside = c % 8
        i = inside % 4
        if inside < 4:
            mean = x[:, c].mean((1, 2), keepdim=True)
            logits = block.channel_weight[i] * mean + block.channel_bias[i]
        else:
            variance, mean = torch.var_mean(x[:, c], (1, 2), keepdim=True, correction=0)
            normal = (x[:, c] - mean) / (variance + 1e-5).sqrt() * block.norm.weight[i] + block.norm.bias[i]
            logits = block.spatial_weight[i] * normal + block.spatial_bias[i]
        y[:, c] = x[:, c] * logits.sigmoid()
    torch.testing.assert_close(unshuffled(block(x)), y)


def test_fresh_block_only_scales_and_shuffles(x):
    """The weights start at 0 and the shifts at 1: every gate is sigmoid(1)."""
    y = ShuffleAttention(24, groups=3).double()(x)
    torch.testing.assert_close(unshuffled(y), x * torch.sigmoid(torch.ones(()).double()))


def test_groups_share_their_weights(block, x):
    """Groups in another order give their outputs in that order."""
    order = [2, 0, 1]
    permuted = x.unflatten(1, (3, 8))[:, order].flatten(1, 2)
    expected = unshuffled(block(x)).unflatten(1, (3, 8))[:, order].flatten(1, 2)
    torch.testing.assert_close(unshuffled(block(permuted)), expected)


def test_shuffle_interleaves_the_two_halves_of_the_whole():
    x = torch.arange(1.0, 9)[None, :, None, None].expand(1, 8, 2, 2)
    y = ShuffleAttention(8, groups=2)(x)[0, :, 0, 0] / torch.sigmoid(torch.ones(()))
    torch.testing.assert_close(y, torch.tensor([1.0, 5, 2, 6, 3, 7, 4, 8]))


@pytest.mark.parametrize(("dim", "groups", "count"), [(64, 8, 24), (128, 64, 6), (64, 1, 192)])
def test_parameters(dim, groups, count):
    assert sum(p.numel() for p in ShuffleAttention(dim, groups).parameters()) == count == 3 * dim // groups


@pytest.mark.parametrize(("dim", "groups"), [(64, 64), (24, 8), (8, 8)])
def test_width_that_does_not_divide_is_refused(dim, groups):
    """With 64 groups at 64 channels the official code divides by zero."""
    with pytest.raises(ValueError, match=rf"dim must be a multiple of {2 * groups}, .* got {dim}: use fewer groups"):
        ShuffleAttention(dim, groups)
