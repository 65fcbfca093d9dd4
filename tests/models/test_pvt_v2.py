"""PVTv2: its tables by hand, keys whose number does not grow, and places told by zeros."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import ReducedAttention, explicit_attention
from stitchwork.models.pvt_v2 import ConvMlp, PooledTokens, PVTv2

B1 = (64, 128, 320, 512)


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def by_hand(dims, depths, ratios, linear):
    """Parameters, and multiply-adds at 224 pixels."""
    parameters = multiply_adds = 0
    for stage, (dim, depth, ratio) in enumerate(zip(dims, depths, ratios, strict=True)):
        kernel, dim_in = (3, dims[stage - 1]) if stage else (7, 3)
        tokens, cell, hidden = (56 >> stage) ** 2, (8, 4, 2, 1)[stage], ratio * dim
        keys = 49 if linear else tokens // cell**2
        parameters += (kernel**2 * dim_in + 1) * dim + 2 * dim + 2 * dim  # patches, their norm, the stage's norm
        # Two norms, attention, the perceptron's two layers, its 3x3.
        block = 4 * dim + 4 * dim**2 + 4 * dim + 2 * dim * hidden + hidden + dim + 10 * hidden
        cost = 2 * tokens * dim**2 + 2 * keys * dim**2 + 2 * tokens * keys * dim
        cost += tokens * (2 * dim * hidden + 9 * hidden)
        if linear or cell > 1:
            side = 1 if linear else cell
            block += side**2 * dim**2 + 3 * dim
            cost += keys * side**2 * dim**2
        parameters += depth * block
        multiply_adds += tokens * kernel**2 * dim_in * dim + depth * cost
    return parameters + (dims[-1] + 1) * 1000, multiply_adds + dims[-1] * 1000


# Table 1: channels, blocks and widths; table 2: millions of parameters, billions of multiply-adds.
@pytest.mark.parametrize(
    ("name", "dims", "depths", "ratios", "parameters", "multiply_adds"),
    [
        ("pvt_v2_b0", (32, 64, 160, 256), (2, 2, 2, 2), (8, 8, 4, 4), 3.7, 0.6),
        ("pvt_v2_b1", B1, (2, 2, 2, 2), (8, 8, 4, 4), 14.0, 2.1),
        ("pvt_v2_b2_li", B1, (3, 4, 6, 3), (8, 8, 4, 4), 22.6, 3.9),
        ("pvt_v2_b2", B1, (3, 4, 6, 3), (8, 8, 4, 4), 25.4, 4.0),
        ("pvt_v2_b3", B1, (3, 4, 18, 3), (8, 8, 4, 4), 45.2, 6.9),
        ("pvt_v2_b4", B1, (3, 8, 27, 3), (8, 8, 4, 4), 62.6, 10.1),
        ("pvt_v2_b5", B1, (3, 6, 40, 3), (4, 4, 4, 4), 82.0, 11.7),
    ],
)
def test_tables_1_and_2(name, dims, depths, ratios, parameters, multiply_adds):
    network = meta(name)
    counted = count_parameters(network), count_multiply_adds(network, input_size=(1, 3, 224, 224))
    assert counted == by_hand(dims, depths, ratios, name.endswith("li"))
    assert counted[0] / 1e6 == pytest.approx(parameters, abs=0.06)
    assert counted[1] / 1e9 == pytest.approx(multiply_adds, abs=0.06)


def test_stages():
    network = meta("pvt_v2_b0")
    maps = network.forward_pyramid(torch.empty(1, 3, 224, 224, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(32, 56, 56), (64, 28, 28), (160, 14, 14), (256, 7, 7)]
    attentions = [[block.attn for block in stage.blocks] for stage in network.stages]
    assert [{a.num_heads for a in stage} for stage in attentions] == [{1}, {2}, {5}, {8}]
    assert [{a.reduce.conv.kernel_size[0] for a in stage} for stage in attentions[:3]] == [{8}, {4}, {2}]
    patches = [(stage.patch_embed.kernel_size[0], stage.patch_embed.stride[0]) for stage in network.stages]
    assert patches == [(7, 4), (3, 2), (3, 2), (3, 2)]
    assert all(isinstance(a.reduce, nn.Identity) for a in attentions[3])


@torch.no_grad()
def test_linear_attention_is_that_to_49_means():
    """Of a map of 14 x 21 pixels each key averages 2 x 3 of them."""
    torch.manual_seed(0)
    attn, x = ReducedAttention(12, 3).double(), torch.randn(2, 14, 21, 12, dtype=torch.float64)
    attn.reduce = PooledTokens(12).double()
    cells = [x[:, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3] for i in range(7) for j in range(7)]
    means = torch.stack([cell.mean((1, 2)) for cell in cells], 1)  # (B, 49, C)
    layer = attn.reduce.conv
    tokens = F.gelu(attn.reduce.norm(means @ layer.weight[:, :, 0, 0].T + layer.bias))  # (B, 49, C)
    k, v = attn.kv(tokens).unflatten(-1, (2, 3, 4)).unbind(2)  # (B, 49, heads, d) each
    q = attn.q(x).unflatten(-1, (3, 4))
    weights = (torch.einsum("byxhd,bkhd->byxhk", q, k) / 2).softmax(-1)
    expected = attn.proj(torch.einsum("byxhk,bkhd->byxhd", weights, v).flatten(3))
    torch.testing.assert_close(attn(x), expected)
    with explicit_attention(attn):
        torch.testing.assert_close(attn(x), expected)


def test_linear_attention_costs_as_much_for_every_pixel():
    """Four times the pixels cost four times as much, but for the 49 keys; attention to all would cost 16 times."""
    attn = ReducedAttention(12, 3)
    attn.reduce = PooledTokens(12)
    for pixels, size in ((70, (7, 10)), (280, (14, 20))):
        cost = count_multiply_adds(attn, input_size=(1, *size, 12))
        assert cost == pixels * (2 * 12**2 + 2 * 49 * 12) + 3 * 49 * 12**2


def test_the_linear_variant():
    """Section 3.3 in every stage; and a ReLU that the paper does not show."""
    for name, linear in (("pvt_v2_b2_li", True), ("pvt_v2_b2", False)):
        blocks = [block for stage in meta(name).stages for block in stage.blocks]
        assert all(isinstance(block.attn.reduce, PooledTokens) == linear for block in blocks)
        assert all(isinstance(block.mlp.relu, nn.ReLU) == linear for block in blocks)


@pytest.mark.parametrize("linear", [False, True])
@torch.no_grad()
def test_feed_forward_by_hand(linear):
    """fc2 gelu(dw3x3(fc1 x)), where the linear variant has max(0, fc1 x)."""
    torch.manual_seed(0)
    mlp, x = ConvMlp(3, 5, linear).double(), torch.randn(1, 4, 6, 3, dtype=torch.float64)
    h = x @ mlp.fc1.weight.T + mlp.fc1.bias
    h = F.pad(h.clamp(min=0) if linear else h, (0, 0, 1, 1, 1, 1))  # zeros around the hidden map, not the image
    taps = mlp.dwconv.weight[:, 0]
    y = sum(taps[:, i, j] * h[:, i : i + 4, j : j + 6] for i in range(3) for j in range(3)) + mlp.dwconv.bias
    torch.testing.assert_close(mlp(x), F.gelu(y) @ mlp.fc2.weight.T + mlp.fc2.bias)


@torch.no_grad()
def test_zeros_at_the_border_tell_the_place():
    """Of an image of one colour, pixels far from the border are all alike, and those at the border are not."""
    torch.manual_seed(0)
    mlp = ConvMlp(3, 5)
    y = mlp(torch.ones(1, 5, 6, 3))
    middle = y[0, 1:-1, 1:-1].flatten(0, 1)
    torch.testing.assert_close(middle, middle[:1].expand_as(middle))
    assert not torch.allclose(y[0, 0, 0], middle[0]) and not torch.allclose(y[0, 0, 2], middle[0])


@torch.no_grad()
def test_any_size():
    torch.manual_seed(0)
    for linear in (False, True):
        network = PVTv2((5, 6, 10, 8), (1, 1, 1, 1), linear=linear, num_classes=3).eval()
        maps = network.forward_pyramid(torch.randn(1, 3, 37, 90))
        assert [tuple(m.shape[2:]) for m in maps] == [(10, 23), (5, 12), (3, 6), (2, 3)]
        assert network(torch.randn(1, 3, 1, 1)).isfinite().all()


@pytest.mark.parametrize("wrong", [{"dims": (5, 6, 0, 8)}, {"depths": (1, 0, 1, 1)}, {"mlp_ratios": (8, 8, 0, 4)}])
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"PVTv2: {next(iter(wrong))} must be greater than 0; got 0"):
        PVTv2(**{"dims": (5, 6, 10, 8), "depths": (1, 1, 1, 1), **wrong})
    with pytest.raises(ValueError, match="dim must be a multiple of num_heads=2; got dim=7"):
        PVTv2((5, 7, 10, 8), (1, 1, 1, 1))
