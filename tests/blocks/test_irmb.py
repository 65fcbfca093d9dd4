import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.analysis import gradient_support
from stitchwork.blocks.irmb import ChannelNorm, GridAttention, InvertedResidualMobileBlock


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Attention(nn.Module):
    """The attention of an image to itself."""

    def __init__(self, **arguments):
        super().__init__()
        self.attention = GridAttention(**arguments)

    def forward(self, x):
        return self.attention(x, x)


def test_a_grid_is_spread_over_the_image():
    """A pixel sees those a whole number of steps of H / w and W / w away: no window, and no neighbour."""
    torch.manual_seed(0)
    support = gradient_support(Attention(dim=8, dim_head=4, window_size=3, qkv_bias=True), (1, 8, 12, 15))
    expected = torch.zeros(12, 15, dtype=torch.bool)
    expected[6 % 4 :: 4, 7 % 5 :: 5] = True  # the centre is (6, 7)
    assert torch.equal(support, expected)


def test_attention_of_one_grid_equals_the_formula():
    torch.manual_seed(0)
    attention = GridAttention(dim=8, dim_head=4, window_size=3, qkv_bias=True).double()
    x, v = noise(2, 8, 3, 3), noise(2, 6, 3, 3)
    q, k = attention.qk(x).flatten(2).chunk(2, 1)  # (B, C, 9)
    parts = []
    for head in range(2):
        rows = slice(4 * head, 4 * head + 4)
        weights = (q[:, rows].transpose(1, 2) @ k[:, rows] / 2).softmax(2)
        parts.append(v.flatten(2)[:, 3 * head : 3 * head + 3] @ weights.transpose(1, 2))
    torch.testing.assert_close(attention(x, v), torch.cat(parts, 1).reshape(2, 6, 3, 3))


def test_padding_takes_part_as_published():
    """A single pixel is one of 49, the others zero: it gets 1 / (1 + 48 e^(...)) of itself."""
    torch.manual_seed(0)
    block, x = InvertedResidualMobileBlock(8, dim_head=8).double().eval(), noise(1, 8, 1, 1)
    n = block.norm(x)
    q, k = block.attention.qk(n).flatten().chunk(2)
    _, k_of_padding = block.attention.qk.bias.chunk(2)
    logits = torch.stack([q @ k, *[q @ k_of_padding] * 48]) / 8**0.5
    u = block.expand(n * logits.softmax(0)[0])
    torch.testing.assert_close(block(x), x + block.project(u + block.local(u)))


def test_expanding_before_or_after_mixing():
    """With one head and no nonlinearity the two orders are the same function, as mixing is linear."""
    torch.manual_seed(0)
    first = InvertedResidualMobileBlock(8, dim_head=8, exp_ratio=2.0).double().eval()
    second = InvertedResidualMobileBlock(8, dim_head=8, exp_ratio=2.0, attn_pre=False).double().eval()
    second.load_state_dict(first.state_dict())
    x = noise(2, 8, 14, 7)
    assert not torch.allclose(first(x), second(x), rtol=1e-3)
    first.expand[1] = second.expand[1] = nn.Identity()
    torch.testing.assert_close(first(x), second(x))


def test_padding_is_expanded_when_expanding_first():
    """As published: the padding is zero before the projection to values, and the bias of that after it."""
    torch.manual_seed(0)
    block = InvertedResidualMobileBlock(8, dim_head=8, exp_ratio=1.0, attn_pre=False).double().eval()
    nn.init.zeros_(block.attention.qk.weight)
    nn.init.zeros_(block.attention.qk.bias)  # equal weights: the mean of 49
    x = noise(1, 8, 1, 1)
    padding = F.gelu(block.expand[0].bias)[None, :, None, None]
    u = (block.expand(block.norm(x)) + 48 * padding) / 49
    torch.testing.assert_close(block(x), x + block.project(u + block.local(u)))


def test_residual():
    block = InvertedResidualMobileBlock(32)
    nn.init.zeros_(block.project.weight)
    x = torch.randn(2, 32, 5, 9)
    torch.testing.assert_close(block(x), x)


def test_channel_norm():
    norm, x = ChannelNorm(8).double(), noise(2, 8, 3, 5)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    scaled = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(norm(x), scaled * norm.weight[:, None, None] + norm.bias[:, None, None])


@pytest.mark.parametrize(("dim", "exp_ratio", "dw_ks"), [(64, 4, 5), (96, 2, 3)])
def test_parameters(dim, exp_ratio, dw_ks):
    count = sum(p.numel() for p in InvertedResidualMobileBlock(dim, exp_ratio=exp_ratio, dw_ks=dw_ks).parameters())
    expected = 2 * dim**2 + 2 * exp_ratio * dim**2 + exp_ratio * dw_ks**2 * dim + (3 * exp_ratio + 4) * dim
    assert count == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm_layer": "gn"}, "norm_layer must be 'ln_2d' or 'bn_2d'; got 'gn'"),
        ({"act_layer": "tanh"}, "act_layer must be one of gelu, relu, silu; got 'tanh'"),
        ({"dw_ks": 4}, "dw_ks must be odd .* got 4"),
        ({"dim": 67}, "dim must be a multiple of dim_head=32; got dim=67"),
        ({"exp_ratio": 0.01}, "exp_ratio must be such that .* got 0.01"),
        ({"exp_ratio": 1.02, "attn_pre": False}, "multiple of the 2 heads; got 1.02 and dim 64"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        InvertedResidualMobileBlock(**{"dim": 64} | arguments)
