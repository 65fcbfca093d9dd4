"""Focal Transformer: three rings of keys against rings gathered pixel by pixel, and the paper's table."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import attention_maps, count_multiply_adds, count_parameters
from stitchwork.layers import explicit_attention
from stitchwork.models.focal import FocalAttention, FocalTransformer, margin_index

FOCAL_WINDOWS = (7, 5, 3, 1)
INSIDE = [(y, x) for y in range(7) for x in range(7)]
# A window moved by three pixels towards each of its corners shows these pixels beyond its own.
MARGIN = [
    (y + down, x + right)
    for down, right in ((3, 3), (3, -3), (-3, 3), (-3, -3))
    for y, x in INSIDE
    if not (0 <= y + down < 7 and 0 <= x + right < 7)
]


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def by_hand(dim, depths, num_heads):
    """Parameters, and multiply-adds at 224 pixels."""
    parameters = multiply_adds = 0
    for stage, (depth, heads, f) in enumerate(zip(depths, num_heads, FOCAL_WINDOWS, strict=True)):
        width, windows, margin = dim << stage, (8 >> stage) ** 2, 132 if stage < 3 else 0
        patch, dim_in = (2, width // 2) if stage else (4, 3)
        parameters += (patch**2 * dim_in + 1) * width + 2 * width
        multiply_adds += windows * 49 * patch**2 * dim_in * width
        bias = heads * (13**2 + 49 * margin + (6 + f) ** 2)
        parameters += depth * (4 * width + 50 + 4 * (width + 1) * width + bias + 8 * width**2 + 5 * width)
        # Layers of the pixels; queries, keys and values of the summed-up windows too; three rings of keys.
        cost = 49 * 12 * width**2 + 49 * width + 3 * width**2 + 2 * 49 * (49 + margin + f**2) * width
        multiply_adds += depth * windows * cost
    return parameters + 16 * dim + (8 * dim + 1) * 1000, multiply_adds + 8 * dim * 1000


# Table 1: channels, blocks, heads; millions of parameters and billions of multiply-adds as of the official code.
@pytest.mark.parametrize(
    ("name", "dim", "depths", "heads", "parameters", "multiply_adds"),
    [
        ("focal_tiny", 96, (2, 2, 6, 2), (3, 6, 12, 24), 28.9, 4.9),
        ("focal_small", 96, (2, 2, 18, 2), (3, 6, 12, 24), 51.1, 9.4),
        ("focal_base", 128, (2, 2, 18, 2), (4, 8, 16, 32), 89.8, 16.4),
    ],
)
def test_table_1(name, dim, depths, heads, parameters, multiply_adds):
    network = meta(name)
    counted = count_parameters(network), count_multiply_adds(network, input_size=(1, 3, 224, 224))
    assert counted == by_hand(dim, depths, heads)
    assert counted[0] / 1e6 == pytest.approx(parameters, abs=0.05)
    assert counted[1] / 1e9 == pytest.approx(multiply_adds, abs=0.1)
    attentions = [[block.attn for block in stage.blocks] for stage in network.stages]
    assert [{a.num_heads for a in stage} for stage in attentions] == [{h} for h in heads]
    assert [{a.focal for a in stage} for stage in attentions] == [{f} for f in FOCAL_WINDOWS]


def test_margin_is_the_ring_around_the_window():
    """13 x 13 pixels without the window are 120; the 3 in the middle of each side come from two of the corners."""
    assert len(margin_index()) == len(MARGIN) == 132
    ring = {(y, x) for y in range(-3, 10) for x in range(-3, 10)} - set(INSIDE)
    assert set(MARGIN) == ring and len(ring) == 120
    twice = {place for place in ring if MARGIN.count(place) == 2}
    assert twice == {place for y in (-3, -2, -1, 7, 8, 9) for place in ((y, 3), (3, y))}


@torch.no_grad()
def brute_force(attn, x):
    """Window by window: its pixels, those around it modulo the filled map, the summed-up windows around it."""
    batch, height, width, dim = x.shape
    rows, columns, heads, f = -(-height // 7), -(-width // 7), attn.num_heads, attn.focal
    filled = x.new_zeros(batch, 7 * rows, 7 * columns, dim)
    filled[:, :height, :width] = x
    summary = torch.stack(
        [
            torch.stack([filled[:, 7 * i + y, 7 * j + z] for y, z in INSIDE], -1) @ attn.pool.weight[0] + attn.pool.bias
            for i in range(rows)
            for j in range(columns)
        ],
        1,
    ).unflatten(1, (rows, columns))
    pixels, windows = (attn.qkv(t).unflatten(-1, (3, heads, -1)) for t in (filled, summary))
    out = torch.empty_like(x)
    for i in range(rows):
        for j in range(columns):
            keys, bias = [], []  # (B, 2, heads, d) each; for each of the 49 queries a number for each head
            for number, (y, z) in enumerate(INSIDE + (MARGIN if attn.margin_bias is not None else [])):
                at = (7 * i + y) % (7 * rows), (7 * j + z) % (7 * columns)
                if at[0] >= height or at[1] >= width:
                    continue
                keys.append(pixels[:, at[0], at[1], 1:])
                if number < 49:
                    bias.append(torch.stack([attn.position.table[(a - y + 6) * 13 + b - z + 6] for a, b in INSIDE]))
                else:
                    bias.append(attn.margin_bias[0, :, :, number - 49].T)
            for u in range(f):
                for v in range(f):
                    at = i + u - f // 2, j + v - f // 2
                    if 0 <= at[0] < rows and 0 <= at[1] < columns:
                        keys.append(windows[:, at[0], at[1], 1:])
                        index = [(a - u + f - 1) * (6 + f) + b - v + f - 1 for a, b in INSIDE]
                        bias.append(attn.window_bias[:, index].T)
            k, v = torch.stack(keys, 1).unbind(2)  # (B, keys, heads, d) each
            bias = torch.stack(bias, -1).transpose(0, 1)  # (heads, 49, keys)
            for number, (y, z) in enumerate(INSIDE):
                at = 7 * i + y, 7 * j + z
                if at[0] < height and at[1] < width:
                    q = pixels[:, at[0], at[1], 0]  # (B, heads, d)
                    logits = torch.einsum("bhd,bkhd->bhk", q, k) / q.shape[-1] ** 0.5 + bias[:, number]
                    out[:, at[0], at[1]] = torch.einsum("bhk,bkhd->bhd", logits.softmax(-1), v).flatten(1)
    return attn.proj(out)


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 16),
    width=st.integers(1, 16),
    focal_window=st.sampled_from(FOCAL_WINDOWS),
    margin=st.booleans(),
    seed=st.integers(0, 99),
)
def test_rings_equal_brute_force(height, width, focal_window, margin, seed):
    torch.manual_seed(seed)
    attn = FocalAttention(4, 2, focal_window, margin).double()
    for bias in (attn.position.table, attn.window_bias, attn.margin_bias):
        if bias is not None:
            nn.init.normal_(bias)
    x = torch.randn(2, height, width, 4, dtype=torch.float64)
    expected = brute_force(attn, x)
    torch.testing.assert_close(attn(x), expected, atol=1e-10, rtol=0)
    with explicit_attention(attn):
        torch.testing.assert_close(attn(x), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("size", [(14, 14), (9, 20), (7, 3)], ids=str)
def test_the_gradient_is_finite_where_windows_are_filled_up(size):
    attn, x = FocalAttention(4, 2, 3, True), torch.randn(1, *size, 4, requires_grad=True)
    attn(x).sum().backward()
    assert x.grad.isfinite().all() and all(p.grad.isfinite().all() for p in attn.parameters())


def test_weights_of_a_window_in_the_corner():
    """Of 5 x 5 summed-up windows around the first one, 2 rows and 2 columns lie outside: 9 of 25 have weight."""
    torch.manual_seed(0)
    (found,) = attention_maps(FocalAttention(4, 2, 5, True), torch.randn(1, 28, 35, 4))
    assert found.weights.shape == (4 * 5, 2, 49, 49 + 132 + 25)
    far = found.weights[0, 0, 0, 181:].view(5, 5)
    assert (far[2:, 2:] > 0).all() and (far > 0).sum() == 9
    assert (found.weights[0, 0, 0, :181] > 0).all()


def test_last_stage_has_no_margin():
    stages = meta("focal_tiny").stages
    assert [[b.attn.margin_bias is not None for b in stage.blocks] for stage in stages] == [
        [True] * 2,
        [True] * 2,
        [True] * 6,
        [False] * 2,
    ]


@torch.no_grad()
def test_any_size():
    torch.manual_seed(0)
    network = FocalTransformer(4, (1, 1, 1, 1), (1, 2, 2, 4), num_classes=3).eval()
    maps = network.forward_pyramid(torch.randn(1, 3, 37, 90))
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 10, 23), (8, 5, 12), (16, 3, 6), (32, 2, 3)]
    assert network(torch.randn(1, 3, 1, 1)).isfinite().all()


def test_refusals():
    with pytest.raises(ValueError, match="FocalTransformer: dim must be a multiple of num_heads=4; got dim=6"):
        FocalTransformer(6, (1, 1, 1, 1), (4, 4, 4, 4))
    with pytest.raises(ValueError, match="FocalTransformer: depths must be greater than 0; got 0"):
        FocalTransformer(4, (1, 0, 1, 1), (1, 1, 1, 1))
