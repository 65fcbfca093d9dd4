"""GC-ViT: windows asked by themselves and by the whole image, and the paper's table by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import explicit_attention
from stitchwork.models.gcvit import ChannelScale, FusedConv, GCViT, GCViTBlock, GlobalQuery, WindowAttention

WINDOWS = (7, 7, 14, 7)


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def by_hand(dim, depths, heads, ratio, scaled):
    """Parameters of a network."""

    def mix(width):  # depthwise 3x3, two layers of a gate, 1x1; no biases
        return 9 * width + 2 * width * (width // 4) + width**2

    def downsample(width, out):
        return 2 * width + mix(width) + 9 * width * out + 2 * out

    total = 27 * dim + dim + downsample(dim, dim)
    for stage, (depth, number, window, halvings) in enumerate(zip(depths, heads, WINDOWS, (3, 2, 0, 0), strict=True)):
        width = dim << stage
        total += max(1, halvings) * mix(width) + (downsample(width // 2, width) if stage else 0)
        for block in range(depth):
            queries = block % 2 == 0  # every other block is given them
            total += (3 + queries) * (width + 1) * width + number * (2 * window - 1) ** 2
            total += 4 * width + 2 * scaled * width + 2 * ratio * width**2 + (ratio + 1) * width
    return total + 16 * dim + (8 * dim + 1) * 1000


# Table 1 of the appendix: channels, blocks, heads; table 1: millions of parameters.
@pytest.mark.parametrize(
    ("name", "dim", "depths", "heads", "ratio", "parameters"),
    [
        ("gcvit_xxtiny", 64, (2, 2, 6, 2), (2, 4, 8, 16), 3, 12.0),
        ("gcvit_xtiny", 64, (3, 4, 6, 5), (2, 4, 8, 16), 3, 20.0),
        ("gcvit_tiny", 64, (3, 4, 19, 5), (2, 4, 8, 16), 3, 28.2),
        ("gcvit_small", 96, (3, 4, 19, 5), (3, 6, 12, 24), 2, 51.1),
        ("gcvit_base", 128, (3, 4, 19, 5), (4, 8, 16, 32), 2, 90.3),
    ],
)
def test_table_1(name, dim, depths, heads, ratio, parameters):
    network = meta(name)
    assert count_parameters(network) == by_hand(dim, depths, heads, ratio, scaled=ratio == 2)
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.05)
    attentions = [[block.attn for block in stage.blocks] for stage in network.stages]
    assert [{a.num_heads for a in stage} for stage in attentions] == [{number} for number in heads]
    assert [{a.window for a in stage} for stage in attentions] == [{window} for window in WINDOWS]
    halvings = [sum(isinstance(m, nn.MaxPool2d) for m in stage.query.blocks) for stage in network.stages]
    assert halvings == [3, 2, 0, 0]
    assert [[a.use_global for a in stage] for stage in attentions] == [[i % 2 == 1 for i in range(d)] for d in depths]


@pytest.mark.parametrize("use_global", [False, True])
def test_cost_of_the_attention(use_global):
    """2 P HW C for either kind; what is given need not be computed."""
    attn, query = WindowAttention(6, 2, 4, use_global), torch.zeros(1, 16, 6)
    layers = 96 * (3 if use_global else 4) * 36
    assert count_multiply_adds(attn, torch.zeros(1, 8, 12, 6), query) == layers + 2 * 16 * 96 * 6


@torch.no_grad()
def by_windows(attn, x, query):
    """Every window cut out of the map; at the border it is just smaller, and asked by the places that it has."""
    heads, side, y = attn.num_heads, attn.window, torch.empty_like(x)
    for top in range(0, x.shape[1], side):
        for left in range(0, x.shape[2], side):
            part = (slice(None), slice(top, top + side), slice(left, left + side))
            height, width = x[part].shape[1:3]
            own = attn.qkv(x[part].flatten(1, 2)).unflatten(-1, (-1, heads, x.shape[-1] // heads))  # (B, P', 2 or 3, …)
            places = [(i, j) for i in range(height) for j in range(width)]
            if attn.use_global:
                q = query[:, [i * side + j for i, j in places]].unflatten(-1, (heads, -1))
            else:
                q = own[:, :, 0]
            k, v = own[:, :, -2], own[:, :, -1]
            rows = [[(a - i + side - 1) * (2 * side - 1) + b - j + side - 1 for i, j in places] for a, b in places]
            bias = attn.position.table[torch.tensor(rows)].permute(2, 0, 1)  # (heads, P', P')
            logits = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5 + bias
            out = torch.einsum("bhqk,bkhd->bqhd", logits.softmax(-1), v).flatten(2)
            y[part] = attn.proj(out).unflatten(1, (height, width))
    return y


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    window=st.integers(2, 6),
    use_global=st.booleans(),
    seed=st.integers(0, 99),
)
def test_windows_equal_brute_force(height, width, window, use_global, seed):
    torch.manual_seed(seed)
    attn = WindowAttention(6, 2, window, use_global).double()
    nn.init.normal_(attn.position.table)
    x, query = torch.randn(2, height, width, 6).double(), torch.randn(2, window**2, 6).double()
    expected = by_windows(attn, x, query)
    torch.testing.assert_close(attn(x, query), expected, atol=1e-10, rtol=0)
    with explicit_attention(attn):
        torch.testing.assert_close(attn(x, query), expected, atol=1e-10, rtol=0)


@torch.no_grad()
def test_every_window_is_asked_the_same():
    """Windows of equal content answer alike, whatever their own queries would have been; another question, another
    answer in all of them."""
    torch.manual_seed(0)
    attn, tile, query = WindowAttention(6, 2, 3, True), torch.randn(1, 3, 3, 6), torch.randn(1, 9, 6)
    y = attn(tile.repeat(1, 2, 4, 1), query)
    torch.testing.assert_close(y, y[:, :3, :3].repeat(1, 2, 4, 1))
    query[:, 4] += 1
    moved = (attn(tile.repeat(1, 2, 4, 1), query) != y).any(-1)[0]
    assert moved.sum() == 8 and moved[1::3, 1::3].all()


@torch.no_grad()
def test_every_image_has_its_own_question():
    """The official code repeats the queries so that windows of one image are asked those of another."""
    torch.manual_seed(0)
    attn, x, query = WindowAttention(6, 2, 3, True), torch.randn(3, 6, 9, 6), torch.randn(3, 9, 6)
    alone = torch.cat([attn(x[i : i + 1], query[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(attn(x, query), alone)


@pytest.mark.parametrize(
    ("levels", "window", "size"),
    [(3, 7, (56, 56)), (2, 7, (28, 28)), (0, 14, (14, 14)), (0, 7, (7, 7)), (3, 7, (16, 24)), (0, 7, (7, 3))],
    ids=str,
)
@torch.no_grad()
def test_global_queries_have_the_size_of_a_window(levels, window, size):
    """At 224 pixels the levels halve each stage's map to it; at other sizes it is interpolated."""
    torch.manual_seed(0)
    query, x = GlobalQuery(8, levels, window), torch.randn(1, 8, *size)
    assert query(x).shape == (1, window**2, 8)
    assert [type(m) for m in query.blocks] == ([FusedConv, nn.MaxPool2d] * levels or [FusedConv])
    if size == (7 << levels, 7 << levels):
        torch.testing.assert_close(query(x), query.blocks(x).flatten(2).mT)


@torch.no_grad()
def test_mixing_by_hand():
    """x + W se(gelu(dw3x3 x)), with a gate from the means over the pixels."""
    torch.manual_seed(0)
    mix, x = FusedConv(8), torch.randn(2, 8, 5, 6)
    y = nn.functional.gelu(mix.depthwise(x))
    hidden = nn.functional.gelu(y.mean((2, 3)) @ mix.se.squeeze.weight[:, :, 0, 0].T)
    gate = (hidden @ mix.se.excite.weight[:, :, 0, 0].T).sigmoid()
    expected = x + torch.einsum("oc,bchw->bohw", mix.pointwise.weight[:, :, 0, 0], y * gate[:, :, None, None])
    torch.testing.assert_close(mix(x), expected)


def test_layer_scale_in_the_large_ones_alone():
    for name, blocks in (("gcvit_tiny", 0), ("gcvit_small", 3 + 4 + 19 + 5)):
        assert sum(isinstance(m, ChannelScale) for m in meta(name).modules()) == 2 * blocks
    block, x, query = GCViTBlock(8, 2, 3, False, 2.0, 1e-5), torch.randn(1, 4, 5, 8), torch.empty(1, 9, 8)
    assert 0 < (block(x, query) - x).abs().max() < 1e-4


@torch.no_grad()
def test_any_size():
    torch.manual_seed(0)
    network = GCViT(4, (2, 2, 2, 2), (1, 2, 2, 4), num_classes=3).eval()
    maps = network.forward_pyramid(torch.randn(1, 3, 37, 90))
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 10, 23), (8, 5, 12), (16, 3, 6), (32, 2, 3)]
    assert network(torch.randn(1, 3, 1, 1)).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": (3, 3, 3, 3)}, "dim must be a multiple of num_heads=3; got dim=4"),
        ({"layer_scale": 0.0}, "layer_scale must be greater than 0; got 0"),
        ({"mlp_ratio": -1.0}, "mlp_ratio must be greater than 0; got -1"),
    ],
    ids=str,
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=f"GCViT: {message}"):
        GCViT(**{"dim": 4, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), **arguments})
