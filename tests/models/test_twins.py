"""Twins: windows that keep to themselves, a summary that all can see, and places told by a convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import ReducedAttention, explicit_attention
from stitchwork.models.twins import PositionConv, Twins, WindowAttention

PVT, CELLS = (64, 128, 320, 512), (8, 4, 2, 1)


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def by_hand(dims, depths, ratios, local):
    """Parameters, and multiply-adds at 224 pixels."""
    parameters = multiply_adds = 0
    for stage, (dim, depth, ratio, cell) in enumerate(zip(dims, depths, ratios, CELLS, strict=True)):
        patch, dim_in, pixels = (2, dims[stage - 1], (56 >> stage) ** 2) if stage else (4, 3, 56**2)
        parameters += (patch**2 * dim_in + 1) * dim + 2 * dim + 10 * dim  # patches, their norm, the 3x3
        multiply_adds += pixels * (patch**2 * dim_in + 9) * dim
        for block in range(depth):
            parameters += 4 * dim + 4 * dim**2 + 4 * dim + 2 * ratio * dim**2 + (ratio + 1) * dim
            multiply_adds += pixels * (2 + 2 * ratio) * dim**2  # queries, what follows the attention, perceptron
            if local and block % 2 == 0:
                multiply_adds += 2 * pixels * dim**2 + 2 * pixels * 49 * dim
                continue
            keys = pixels // cell**2
            multiply_adds += 2 * keys * dim**2 + 2 * pixels * keys * dim
            if cell > 1:
                parameters += cell**2 * dim**2 + 3 * dim
                multiply_adds += pixels * dim**2
    return parameters + 2 * dims[-1] + (dims[-1] + 1) * 1000, multiply_adds + dims[-1] * 1000


# Tables 1 and 2 of the supplementary material; table 3: millions of parameters, billions of multiply-adds.
@pytest.mark.parametrize(
    ("name", "dims", "depths", "ratios", "parameters", "multiply_adds"),
    [
        ("twins_pcpvt_small", PVT, (3, 4, 6, 3), (8, 8, 4, 4), 24.1, 3.8),
        ("twins_pcpvt_base", PVT, (3, 4, 18, 3), (8, 8, 4, 4), 43.8, 6.7),
        ("twins_pcpvt_large", PVT, (3, 8, 27, 3), (8, 8, 4, 4), 60.9, 9.8),
        ("twins_svt_small", (64, 128, 256, 512), (2, 2, 10, 4), (4, 4, 4, 4), 24, 2.9),
        ("twins_svt_base", (96, 192, 384, 768), (2, 2, 18, 2), (4, 4, 4, 4), 56, 8.6),
        ("twins_svt_large", (128, 256, 512, 1024), (2, 2, 18, 2), (4, 4, 4, 4), 99.2, 15.1),
    ],
)
def test_tables(name, dims, depths, ratios, parameters, multiply_adds):
    network = meta(name)
    counted = count_parameters(network), count_multiply_adds(network, input_size=(1, 3, 224, 224))
    assert counted == by_hand(dims, depths, ratios, local="svt" in name)
    assert counted[0] / 1e6 == pytest.approx(parameters, abs=0.1)
    assert counted[1] / 1e9 == pytest.approx(multiply_adds, abs=0.05)


@pytest.mark.parametrize(
    ("name", "heads"), [("twins_pcpvt_small", (1, 2, 5, 8)), ("twins_svt_small", (2, 4, 8, 16))], ids=str
)
def test_who_attends_to_what(name, heads):
    """PCPVT: all globally. SVT: windows first, then the summary, in turn; the last stage reduces nothing."""
    for stage, number, cell in zip(meta(name).stages, heads, CELLS, strict=True):
        attentions = [block.attn for block in stage.blocks]
        assert {a.num_heads for a in attentions} == {number}
        local = [isinstance(a, WindowAttention) for a in attentions]
        assert local == [name == "twins_svt_small" and i % 2 == 0 for i in range(len(local))]
        for attn in attentions:
            if isinstance(attn, ReducedAttention):
                assert (attn.reduce.conv.kernel_size[0] if cell > 1 else 1) == cell
            else:
                assert attn.window == 7


@torch.no_grad()
def by_windows(attn, x):
    """Attention in every window by itself, cut out of the map; at the border a window is just smaller."""
    heads, side, y = attn.num_heads, attn.window, torch.empty_like(x)
    for top in range(0, x.shape[1], side):
        for left in range(0, x.shape[2], side):
            part = (slice(None), slice(top, top + side), slice(left, left + side))
            q, k, v = attn.qkv(x[part].flatten(1, 2)).unflatten(-1, (3, heads, -1)).unbind(2)  # (B, P, heads, d) each
            weights = (torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5).softmax(-1)
            out = torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2)
            y[part] = attn.proj(out).unflatten(1, x[part].shape[1:3])
    return y


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 17), width=st.integers(1, 17), window=st.integers(2, 7), seed=st.integers(0, 99))
def test_windows_equal_brute_force(height, width, window, seed):
    """Also where they do not fill the map: zeros take no part in the softmax."""
    torch.manual_seed(seed)
    attn, x = WindowAttention(12, 3, window).double(), torch.randn(2, height, width, 12, dtype=torch.float64)
    expected = by_windows(attn, x)
    torch.testing.assert_close(attn(x), expected, atol=1e-10, rtol=0)
    with explicit_attention(attn):
        torch.testing.assert_close(attn(x), expected, atol=1e-10, rtol=0)


def test_local_attention_does_not_leave_its_window():
    """Of a map of 3 x 2 windows a pixel sees 49; with the block that follows, all 294."""
    torch.manual_seed(0)
    local, reduced = WindowAttention(4, 2), ReducedAttention(4, 2, 2)
    x = torch.randn(1, 20, 14, 4, requires_grad=True)
    seen = [torch.autograd.grad(y[0, 8, 3].sum(), x)[0][0].any(-1) for y in (local(x), reduced(local(x)))]
    assert seen[0][7:14, :7].all() and seen[0].sum() == 49
    assert seen[1].all()


@torch.no_grad()
def test_place_by_convolution():
    """x + dw3x3(x) + bias, each channel by itself."""
    torch.manual_seed(0)
    position, x = PositionConv(3), torch.zeros(1, 5, 5, 3)
    x[0, 2, 1, 1] = 1
    expected = x + position.bias
    expected[0, 1:4, 0:3, 1] += position.weight[1, 0].flip(0, 1)
    torch.testing.assert_close(position(x), expected)


def test_place_is_told_after_the_first_block_of_a_stage():
    network = Twins((2, 2, 2, 2), (1, 1, 1, 1), (3, 1, 2, 1), (1, 1, 1, 1), local=True, num_classes=3)
    order = []
    for stage in network.stages:
        for name, part in [("place", stage.position)] + [("block", block) for block in stage.blocks]:
            part.register_forward_hook(lambda *_, name=name: order.append(name))
    network(torch.randn(1, 3, 32, 32))
    assert " ".join(order) == "block place block block block place block place block block place"


@torch.no_grad()
def test_any_size():
    torch.manual_seed(0)
    for local in (False, True):
        network = Twins((2, 4, 6, 8), (1, 2, 3, 4), (2, 2, 2, 2), (2, 2, 2, 2), local, num_classes=3).eval()
        nn.init.normal_(network.head.weight)
        maps = network.forward_pyramid(torch.randn(1, 3, 37, 90))
        assert [tuple(m.shape[1:]) for m in maps] == [(2, 10, 23), (4, 5, 12), (6, 3, 6), (8, 2, 3)]
        assert network(torch.randn(1, 3, 1, 1)).isfinite().all()


def test_refusals():
    with pytest.raises(ValueError, match="WindowAttention: dim must be a multiple of num_heads=4; got dim=6"):
        Twins((6, 8, 8, 8), (4, 4, 4, 4), (1, 1, 1, 1), (4, 4, 4, 4), local=True)
    with pytest.raises(ValueError, match="WindowAttention: window must be greater than 0; got 0"):
        WindowAttention(8, 2, 0)
    with pytest.raises(ValueError, match="Twins: mlp_ratios must be greater than 0; got 0"):
        Twins((8, 8, 8, 8), (2, 2, 2, 2), (1, 1, 1, 1), (4, 0, 4, 4), local=False)
    with pytest.raises(ValueError, match="Twins: depths must be greater than 0; got 0"):
        Twins((8, 8, 8, 8), (2, 2, 2, 2), (1, 1, 0, 1), (4, 4, 4, 4), local=False)
