"""Shunted transformer: its tables by hand, and heads that see cells of two sizes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import attention_maps, count_multiply_adds, count_parameters
from stitchwork.layers import explicit_attention
from stitchwork.models.shunted import DetailMlp, LocalAttention, ShuntedAttention, ShuntedTransformer

DIMS, HEADS, MLP_RATIOS, CELLS = (64, 128, 256, 512), (2, 4, 8, 16), (8, 8, 4, 4), (8, 4, 2, 1)


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def by_hand(depths, num_conv):
    """Parameters, and multiply-adds at 224 pixels."""
    parameters = 49 * 3 * 64 + 2 * 64 + num_conv * (9 * 64 * 64 + 2 * 64) + 4 * 64 * 64 + 64 + 2 * 64
    multiply_adds = 112**2 * (49 * 3 * 64 + num_conv * 9 * 64 * 64) + 56**2 * 4 * 64 * 64
    for stage, (dim, ratio, cell, depth) in enumerate(zip(DIMS, MLP_RATIOS, CELLS, depths, strict=True)):
        pixels, hidden = (56 >> stage) ** 2, ratio * dim
        if stage:
            parameters += (9 * DIMS[stage - 1] + 1) * dim + 2 * dim
            multiply_adds += pixels * 9 * DIMS[stage - 1] * dim
        # Two norms, queries, what follows the attention; the perceptron with its 3x3.
        block = 4 * dim + 2 * (dim + 1) * dim + 2 * dim * hidden + 11 * hidden + dim
        cost = pixels * (2 * dim**2 + 2 * dim * hidden + 9 * hidden)
        for side in (cell, cell // 2) if cell > 1 else ():
            keys = pixels // side**2
            block += (side**2 * dim + 3) * dim + (dim + 1) * dim + 10 * dim // 2
            cost += pixels * dim**2 + keys * dim**2 + keys * 9 * dim // 2 + 2 * pixels * keys * dim // 2
        if cell == 1:
            block += 2 * (dim + 1) * dim + 10 * dim
            cost += 2 * pixels * dim**2 + pixels * 9 * dim + 2 * pixels**2 * dim
        parameters += depth * block + 2 * dim
        multiply_adds += depth * cost
    return parameters + 513 * 1000, multiply_adds + 512 * 1000


# Table 1: blocks of each stage; table 2: millions of parameters, billions of multiply-adds.
@pytest.mark.parametrize(
    ("name", "depths", "num_conv", "parameters", "multiply_adds"),
    [
        ("shunted_tiny", (1, 2, 4, 1), 0, 11.5, 2.1),
        ("shunted_small", (2, 4, 12, 1), 1, 22.4, 4.9),
        ("shunted_base", (3, 4, 24, 2), 2, 39.6, 8.1),
    ],
)
def test_tables_1_and_2(name, depths, num_conv, parameters, multiply_adds):
    network = meta(name)
    counted = count_parameters(network), count_multiply_adds(network, input_size=(1, 3, 224, 224))
    assert counted == by_hand(depths, num_conv)
    assert counted[0] / 1e6 == pytest.approx(parameters, abs=0.06)
    assert counted[1] / 1e9 == pytest.approx(multiply_adds, abs=0.1)


def test_stages():
    network = meta("shunted_tiny")
    maps = network.forward_pyramid(torch.empty(1, 3, 224, 224, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
    for stage, heads, cell in zip(network.stages, HEADS, CELLS, strict=True):
        for attn in (block.attn for block in stage.blocks):
            assert attn.num_heads == heads
            if cell > 1:
                assert [k.reduce.conv.kernel_size[0] for k in (attn.coarse, attn.fine)] == [cell, cell // 2]
                assert attn.coarse.num_heads == attn.fine.num_heads == heads // 2
            else:
                assert isinstance(attn, LocalAttention)


@pytest.mark.parametrize(("size", "cell"), [((8, 4), 4), ((9, 7), 4), ((7, 2), 4), ((3, 6), 2), ((1, 1), 2)], ids=str)
@torch.no_grad()
def test_heads_of_two_rates_by_hand(size, cell):
    """Eqs. 2 and 3, cell after cell: heads 0 and 1 see large cells, heads 2 and 3 cells of half the side."""
    torch.manual_seed(0)
    attn, x = ShuntedAttention(8, 4, cell).double(), torch.randn(2, *size, 8, dtype=torch.float64)
    q, y = attn.q(x).flatten(1, 2).unflatten(-1, (4, 2)), []
    for part, side, heads in ((attn.coarse, cell, (0, 1)), (attn.fine, cell // 2, (2, 3))):
        filled = F.pad(x, (0, 0, 0, max(0, side - size[1]), 0, max(0, side - size[0])))
        conv, grid = part.reduce.conv, [length // side for length in filled.shape[1:3]]
        cut = filled[:, : grid[0] * side, : grid[1] * side].unflatten(2, (grid[1], side)).unflatten(1, (grid[0], side))
        tokens = torch.einsum("biyjxc,ocyx->bijo", cut, conv.weight) + conv.bias
        k, v = part.kv(F.gelu(part.reduce.norm(tokens))).chunk(2, -1)  # (B, h, w, 4) each
        detail = F.conv2d(v.permute(0, 3, 1, 2), part.local.weight, part.local.bias, padding=1, groups=4)
        v = v + detail.permute(0, 2, 3, 1)
        k, v = (t.flatten(1, 2).unflatten(-1, (2, 2)) for t in (k, v))  # (B, M, heads, d) each
        for i, head in enumerate(heads):
            weights = (q[:, :, head] @ k[:, :, i].mT / 2**0.5).softmax(-1)
            y.append(weights @ v[:, :, i])
    expected = attn.proj(torch.cat(y, -1)).unflatten(1, size)
    torch.testing.assert_close(attn(x), expected)
    with explicit_attention(attn):
        torch.testing.assert_close(attn(x), expected)


def test_two_maps_in_one_layer():
    """The finer half has four times the keys; together they cost 5 / 2 of what one rate would."""
    attn = ShuntedAttention(8, 4, 4)
    coarse, fine = (m.weights for m in attention_maps(attn, torch.randn(1, 8, 12, 8)))
    assert coarse.shape == (1, 2, 96, 6) and fine.shape == (1, 2, 96, 24)
    cost = count_multiply_adds(attn, input_size=(1, 8, 12, 8))
    layers = 2 * 96 * 64 + sum(96 * 64 + keys * (64 + 9 * 4) for keys in (6, 24))
    assert cost - layers == 96**2 * 8 * (1 + 4) // 4**2


@torch.no_grad()
def test_values_by_convolution_beside_full_attention():
    """With keys that are all alike: the mean of the values, and the convolution of each pixel's own."""
    torch.manual_seed(0)
    attn, x = LocalAttention(6, 2), torch.randn(1, 4, 5, 6)
    nn.init.zeros_(attn.q.weight)
    nn.init.zeros_(attn.q.bias)
    v = attn.kv(x)[..., 6:]
    beside = attn.local(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(attn(x), attn.proj(v.mean((1, 2), keepdim=True) + beside))


@torch.no_grad()
def test_detail_beside_the_hidden_layer():
    """Eq. 6; and without the convolution a plain perceptron is left."""
    torch.manual_seed(0)
    mlp, x = DetailMlp(3, 5), torch.randn(1, 4, 6, 3)
    h = mlp.fc1(x)
    detail = F.conv2d(h.permute(0, 3, 1, 2), mlp.dwconv.weight, mlp.dwconv.bias, padding=1, groups=5)
    torch.testing.assert_close(mlp(x), mlp.fc2(F.gelu(h + detail.permute(0, 2, 3, 1))))
    nn.init.zeros_(mlp.dwconv.weight)
    nn.init.zeros_(mlp.dwconv.bias)
    torch.testing.assert_close(mlp(x), mlp.fc2(F.gelu(h)))


@torch.no_grad()
def test_every_stage_ends_with_a_normalisation():
    torch.manual_seed(0)
    network = ShuntedTransformer((1, 1, 1, 1), 0, num_classes=3).eval()
    maps = network.forward_pyramid(torch.randn(1, 3, 37, 90))
    assert [tuple(m.shape[2:]) for m in maps] == [(10, 23), (5, 12), (3, 6), (2, 3)]
    for found in maps:
        assert found.mean(1).abs().max() < 1e-5 and (found.var(1, correction=0) - 1).abs().max() < 1e-2


def test_refusals():
    with pytest.raises(ValueError, match="ShuntedTransformer: num_conv must be at least 0; got -1"):
        ShuntedTransformer((1, 1, 1, 1), -1)
    with pytest.raises(ValueError, match="ShuntedTransformer: depths must be greater than 0; got 0"):
        ShuntedTransformer((1, 1, 0, 1), 0)
