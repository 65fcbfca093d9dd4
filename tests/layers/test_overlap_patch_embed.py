import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.layers import OverlapPatchEmbed


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(("kernel_size", "stride"), [(7, 4), (3, 2)])
@pytest.mark.parametrize("size", [(16, 24), (9, 7), (1, 5), (13, 4)])
def test_windows_of_the_padded_image(kernel_size, stride, size):
    """Every token is one matrix times its window, normalised; as many tokens as strides that fit, rounded up."""
    embed = OverlapPatchEmbed(3, 6, kernel_size, stride).double()
    nn.init.normal_(embed.norm.weight)
    x = torch.randn(2, 3, *size, dtype=torch.double)
    tokens = embed(x)
    assert tokens.shape == (2, -(-size[0] // stride), -(-size[1] // stride), 6)
    windows = F.unfold(x, kernel_size, padding=kernel_size // 2, stride=stride).mT  # (2, h w, 3 k k)
    expected = F.layer_norm(windows @ embed.weight.flatten(1).T + embed.bias, (6,), embed.norm.weight)
    torch.testing.assert_close(tokens.flatten(1, 2), expected)


def test_neighbours_share_pixels():
    embed, x = OverlapPatchEmbed(1, 6, 7, 4), torch.randn(1, 1, 16, 16)
    other = x.clone()
    other[0, 0, 5, 6] += 1  # the windows are centred on 0, 4, 8 and 12, and reach 3 to either side
    touched = (embed(other) != embed(x)).any(-1)[0]
    assert touched.nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


@pytest.mark.parametrize(("padding", "tokens"), [(None, 8), (2, 8), (0, 7)])
def test_padding(padding, tokens):
    embed = OverlapPatchEmbed(3, 6, 7, 4, padding)
    assert embed.padding == ((3, 3) if padding is None else (padding, padding))
    assert embed(torch.randn(1, 3, 32, 32)).shape == (1, tokens, tokens, 6)
