"""Shifted windows against attention that knows the regions, and the tables of the paper."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds
from stitchwork.layers.relative_position import offset_index
from stitchwork.models.swin import PatchMerging, SwinBlock, shift_of, window_bias


def regions(height, width, window, shifted):
    """For each pixel the window that it belongs to in one of the two partitions, as a label.

    The shifted partition begins window // 2 pixels later; what is left over at the upper and left border are windows
    of their own. An axis that one window covers is not shifted.
    """

    def labels(side):
        shift = window // 2 if shifted and side > window else 0
        return torch.tensor([(place - shift) // window if place >= shift else -1 for place in range(side)])

    return labels(height)[:, None] * 1000 + labels(width)


def brute_force(block, x):
    """What the block's attention gives, pixel by pixel: softmax over the pixels with the same label."""
    _, height, width, dim = x.shape
    attn, side = block.attn, block.window
    heads, d = attn.num_heads, dim // attn.num_heads
    q, k, v = attn.qkv(x).unflatten(-1, (3, heads, d)).unbind(3)  # (B, H, W, heads, d) each
    label = regions(height, width, side, block.shifted).flatten()
    y, xx = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, xx = y.flatten(), xx.flatten()
    out = torch.empty_like(x).flatten(1, 2)
    for i in range(height * width):
        keys = (label == label[i]).nonzero().flatten()
        row = (y[i] - y[keys] + side - 1) * (2 * side - 1) + xx[i] - xx[keys] + side - 1
        bias = attn.position.table[row].T  # (heads, keys)
        logits = torch.einsum("bhd,bkhd->bhk", q.flatten(1, 2)[:, i], k.flatten(1, 2)[:, keys]) / d**0.5 + bias
        out[:, i] = torch.einsum("bhk,bkhd->bhd", logits.softmax(-1), v.flatten(1, 2)[:, keys]).flatten(1)
    return attn.proj(out).unflatten(1, (height, width))


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    window=st.integers(2, 7),
    shifted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_windows_equal_brute_force(height, width, window, shifted, seed):
    torch.manual_seed(seed)
    block = SwinBlock(12, 3, window, shifted).double()
    nn.init.normal_(block.attn.position.table)
    x = torch.randn(2, height, width, 12, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block.attend(x), brute_force(block, x), atol=1e-10, rtol=0)


@pytest.mark.parametrize("size", [(14, 14), (9, 20), (7, 30)], ids=str)
def test_the_gradient_is_finite_where_windows_are_filled_up(size):
    block, x = SwinBlock(12, 3, 7, shifted=True), torch.randn(1, *size, 12, requires_grad=True)
    block(x).sum().backward()
    assert x.grad.isfinite().all() and all(p.grad.isfinite().all() for p in block.parameters())


def test_no_shift_along_an_axis_that_one_window_covers():
    assert shift_of((14, 7), 7) == (3, 0) and shift_of((7, 5), 7) == (0, 0)


def test_nothing_to_mask_where_windows_fill_the_map_and_stand_still():
    assert window_bias((14, 21), 7, (0, 0), torch.zeros(1)) is None


def test_shifted_windows_of_a_square_map():
    """Figure 4: of four windows one keeps all its pairs, two lose half of them, one three quarters."""
    bias = window_bias((4, 4), 2, (1, 1), torch.zeros(1))
    open_pairs = (bias[:, 0] == 0).sum((1, 2)).tolist()
    assert open_pairs == [16, 8, 8, 4]


def test_offsets_share_their_number():
    index = offset_index(2, 3)
    assert index.shape == (6, 6) and len(set(index.flatten().tolist())) == 3 * 5
    assert index[0, 0] == index[5, 5] and index[0, 1] == index[3, 4] and index[0, 1] != index[1, 0]


def test_merging_reads_columns_first():
    """(0, 0), (1, 0), (0, 1), (1, 1): the published order of the four neighbours."""
    merge = PatchMerging(1)
    nn.init.eye_(merge.reduction.weight)
    merge.norm = nn.Identity()
    x = torch.tensor([[1.0, 3.0], [2.0, 4.0]])[None, :, :, None]
    assert merge(x).flatten().tolist() == [1.0, 2.0]


def test_merging_fills_up_odd_maps():
    assert PatchMerging(4)(torch.randn(1, 3, 5, 4)).shape == (1, 2, 3, 8)


# Table 1 and section 4.1: parameters and G multiply-adds at 224 pixels.
@pytest.mark.parametrize(("name", "cost"), [("swin_tiny", 4.5), ("swin_small", 8.7), ("swin_base", 15.4)])
def test_multiply_adds_of_the_paper(name, cost):
    with torch.device("meta"):
        model = create_model(name)
    assert count_multiply_adds(model, input_size=(1, 3, 224, 224)) / 1e9 == pytest.approx(cost, abs=0.06)


def test_every_other_block_is_shifted():
    blocks = [m.shifted for m in create_model("swin_tiny").modules() if isinstance(m, SwinBlock)]
    assert blocks == [False, True] * 6
