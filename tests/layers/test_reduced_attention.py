import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.analysis import capture, count_multiply_adds
from stitchwork.layers import ReduceCells, ReducedAttention, SelfAttention, explicit_attention


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def awake(module):
    """The norm's gain and shift are random, too."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.double()


def by_hand(attn, x, s):
    """Torch's own attention, asked by the pixels, answered by the cells."""
    dim = x.shape[-1]
    theirs = nn.MultiheadAttention(dim, attn.num_heads, batch_first=True).double()
    theirs.in_proj_weight.data = torch.cat([attn.q.weight, attn.kv.weight])
    theirs.in_proj_bias.data = torch.cat([attn.q.bias, attn.kv.bias])
    theirs.out_proj.load_state_dict(attn.proj.state_dict())
    cells = x
    if s > 1:
        height, width = (max(1, side // s) for side in x.shape[1:3])
        cells = x.new_empty(len(x), height, width, dim)
        weight = attn.reduce.conv.weight.permute(0, 2, 3, 1).flatten(1)  # (dim, s s dim)
        for i in range(height):
            for j in range(width):
                part = x[:, s * i : s * (i + 1), s * j : s * (j + 1)]
                patch = x.new_zeros(len(x), s, s, dim)
                patch[:, : part.shape[1], : part.shape[2]] = part
                cells[:, i, j] = patch.flatten(1) @ weight.T + attn.reduce.conv.bias
        cells = F.layer_norm(cells, (dim,), attn.reduce.norm.weight, attn.reduce.norm.bias)
    pixels, cells = x.flatten(1, 2), cells.flatten(1, 2)
    y, weights = theirs(pixels, cells, cells, average_attn_weights=False)
    return y.view_as(x), weights


@pytest.mark.parametrize("s", [1, 2, 4])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (4, 9), (1, 1), (3, 2), (1, 6)])
def test_pixels_ask_cells(s, size):
    attn, x = awake(ReducedAttention(12, 3, s)), torch.randn(2, *size, 12, dtype=torch.double)
    y, weights = by_hand(attn, x, s)
    torch.testing.assert_close(attn(x), y)
    with explicit_attention(attn), capture(attn, "attend.weights") as maps:
        torch.testing.assert_close(attn(x), y)
    torch.testing.assert_close(maps["attend.weights"], weights)


def test_without_reduction_it_is_self_attention():
    reduced, plain = ReducedAttention(12, 3), SelfAttention(12, 3)
    plain.qkv.weight.data = torch.cat([reduced.q.weight, reduced.kv.weight])
    plain.qkv.bias.data = torch.cat([reduced.q.bias, reduced.kv.bias])
    plain.proj.load_state_dict(reduced.proj.state_dict())
    x = torch.randn(2, 5, 6, 12)
    torch.testing.assert_close(reduced(x).flatten(1, 2), plain(x.flatten(1, 2)))


def test_what_fills_no_cell_is_left_out_and_a_small_map_is_kept():
    reduce, x = ReduceCells(3, 4), torch.randn(1, 9, 7, 3)
    assert reduce(x).shape == (1, 2, 1, 3)
    other = x.clone()
    other[:, 8:] += 1
    other[:, :, 4:] += 1
    assert torch.equal(reduce(other), reduce(x))
    small, changed = torch.randn(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    assert reduce(small).shape == (1, 1, 1, 3) and not torch.equal(reduce(small), reduce(changed))


@pytest.mark.parametrize("s", [1, 2, 4])
def test_cost(s):
    """The attention falls by s², and what remains is linear in the pixels."""
    dim, pixels = 12, 64
    attn = ReducedAttention(dim, 3, s)
    cells = pixels // s**2
    reduction = pixels * dim**2 if s > 1 else 0
    expected = 2 * pixels * dim**2 + reduction + 2 * cells * dim**2 + 2 * pixels * cells * dim
    assert count_multiply_adds(attn, torch.randn(1, 8, 8, dim)) == expected


def test_the_weights_say_what_their_axes_mean():
    assert ReducedAttention(12, 3, 2).attend.weights.axes == ("image", "head", "pixel", "cell")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((10, 3), "multiple of num_heads=3; got dim=10"), ((12, 3, 0), "sr_ratio must be"), ((12, 0), "num_heads must")],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=f"ReducedAttention: .*{message}"):
        ReducedAttention(*arguments)
