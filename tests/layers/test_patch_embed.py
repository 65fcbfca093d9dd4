import pytest
import timm.layers
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.layers import PatchEmbed


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def by_hand(embed, x):
    """Every patch, zeros where the image has ended, times one matrix."""
    p, weight = embed.stride[0], embed.weight.flatten(1)  # (dim, in_chans p p)
    height, width = -(-x.shape[2] // p), -(-x.shape[3] // p)
    tokens = x.new_empty(len(x), height, width, len(weight))
    for i in range(height):
        for j in range(width):
            patch = x.new_zeros(len(x), x.shape[1], p, p)
            part = x[:, :, p * i : p * (i + 1), p * j : p * (j + 1)]
            patch[:, :, : part.shape[2], : part.shape[3]] = part
            tokens[:, i, j] = patch.flatten(1) @ weight.T + embed.bias
    return tokens


@pytest.mark.parametrize("size", [(8, 12), (7, 9), (5, 4), (1, 1), (3, 13)])
def test_patches_of_any_image(size):
    embed, x = PatchEmbed(3, 6, 4).double(), torch.randn(2, 3, *size, dtype=torch.double)
    tokens = embed(x)
    assert tokens.shape == (2, -(-size[0] // 4), -(-size[1] // 4), 6)
    torch.testing.assert_close(tokens, by_hand(embed, x))


def test_is_timms():
    theirs = timm.layers.PatchEmbed(32, 8, 3, 10).double()
    ours = PatchEmbed(3, 10, 8).double()
    ours.load_state_dict(theirs.proj.state_dict())
    x = torch.randn(2, 3, 32, 32, dtype=torch.double)
    torch.testing.assert_close(ours(x).flatten(1, 2), theirs(x))


def test_the_norm_is_of_the_tokens():
    embed = PatchEmbed(3, 6, 4, norm=nn.LayerNorm)
    plain = PatchEmbed(3, 6, 4)
    plain.load_state_dict({"weight": embed.weight, "bias": embed.bias})
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(embed(x), F.layer_norm(plain(x), (6,)))


def test_the_input_stays_as_it_is():
    x = torch.randn(1, 3, 7, 7)
    before = x.clone()
    PatchEmbed(3, 6, 4)(x)
    assert torch.equal(x, before)
