"""MaxViT: windows, grids of pixels far apart, and table 1 by hand."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import explicit_attention
from stitchwork.models.maxvit import MaxViT, MaxViTBlock, MBConv, PartitionAttention


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def by_hand(dims, depths):
    """Parameters of a network."""

    def mbconv(dim, out):
        hidden, units = 4 * out, out // 4
        total = 2 * dim + dim * hidden + 2 * hidden + 9 * hidden + 2 * hidden  # normalise, expand, 3x3
        total += (hidden + 1) * units + (units + 1) * hidden + (hidden + 1) * out  # gate, project
        return total + ((dim + 1) * out if dim != out else 0)

    def attention(dim):  # with two norms, a bias for each offset and a perceptron
        return 4 * dim + 4 * (dim + 1) * dim + dim // 32 * 13**2 + 8 * dim**2 + 5 * dim

    total, dim = (27 + 1) * 64 + 2 * 64 + (9 * 64 + 1) * 64, 64
    for out, depth in zip(dims, depths, strict=True):
        for _ in range(depth):
            total += mbconv(dim, out) + 2 * attention(out)
            dim = out
    return total + 2 * dim + (dim + 1) * dim + (dim + 1) * 1000


# Table 1: channels and blocks; table 2: millions of parameters.
@pytest.mark.parametrize(
    ("name", "dims", "depths", "parameters"),
    [
        ("maxvit_tiny", (64, 128, 256, 512), (2, 2, 5, 2), 31),
        ("maxvit_small", (96, 192, 384, 768), (2, 2, 5, 2), 69),
        ("maxvit_base", (96, 192, 384, 768), (2, 6, 14, 2), 120),
    ],
)
def test_tables_1_and_2(name, dims, depths, parameters):
    network = meta(name)
    assert count_parameters(network) == by_hand(dims, depths)
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.6)
    maps = network.forward_pyramid(torch.empty(1, 3, 224, 224, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(c, 56 >> i, 56 >> i) for i, c in enumerate(dims)]
    strides = [[block.conv.stride for block in stage] for stage in network.stages]
    assert strides == [[2] + [1] * (depth - 1) for depth in depths]
    assert all((block.block.attn.grid, block.grid.attn.grid) == (False, True) for s in network.stages for block in s)


@pytest.mark.parametrize("grid", [False, True])
def test_cost_of_the_attention(grid):
    """2 · 49 HW C beside the four layers, along the grid as within windows."""
    cost = count_multiply_adds(PartitionAttention(64, grid), input_size=(1, 14, 21, 64))
    assert cost == 14 * 21 * (4 * 64**2 + 2 * 49 * 64)


@torch.no_grad()
def brute_force(attn, x):
    """Pixel by pixel: attention among those of the same label, with the table read by the offset of their places."""
    height, width = x.shape[1:3]
    q, k, v = attn.qkv(x).flatten(1, 2).unflatten(-1, (3, -1, 32)).unbind(2)  # (B, N, heads, 32) each

    def label_and_place(pixel, side):
        apart = -(-side // 7)  # distance of the pixels of a grid
        return (pixel % apart, pixel // apart) if attn.grid else (pixel // 7, pixel % 7)

    rows, columns = ([label_and_place(i, side) for i in range(side)] for side in (height, width))
    label = torch.tensor([[a * 100 + b for b, _ in columns] for a, _ in rows]).flatten()
    place = torch.tensor([[(a, b) for _, b in columns] for _, a in rows]).flatten(0, 1)
    out = torch.empty_like(x).flatten(1, 2)
    for i in range(height * width):
        keys = (label == label[i]).nonzero().flatten()
        offset = place[keys] - place[i] + 6
        bias = attn.table[:, offset[:, 0], offset[:, 1]]  # (heads, keys)
        logits = torch.einsum("bhd,bkhd->bhk", q[:, i], k[:, keys]) / 32**0.5 + bias
        out[:, i] = torch.einsum("bhk,bkhd->bhd", logits.softmax(-1), v[:, keys]).flatten(1)
    return attn.proj(out).unflatten(1, (height, width))


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 17), width=st.integers(1, 17), grid=st.booleans(), seed=st.integers(0, 99))
def test_windows_and_grids_equal_brute_force(height, width, grid, seed):
    torch.manual_seed(seed)
    attn, x = PartitionAttention(64, grid).double(), torch.randn(2, height, width, 64, dtype=torch.float64)
    nn.init.normal_(attn.table)
    expected = brute_force(attn, x)
    torch.testing.assert_close(attn(x), expected, atol=1e-10, rtol=0)
    with explicit_attention(attn):
        torch.testing.assert_close(attn(x), expected, atol=1e-10, rtol=0)


def test_a_grid_is_spread_over_the_map_and_both_reach_all_of_it():
    """Of 21 x 14 pixels a window has 7 x 7 side by side, a grid 7 x 7 that are 3 rows and 2 columns apart."""
    torch.manual_seed(0)
    window, grid = PartitionAttention(32, False), PartitionAttention(32, True)
    x = torch.randn(1, 21, 14, 32, requires_grad=True)

    def seen(y):
        return torch.autograd.grad(y[0, 8, 3].sum(), x)[0][0].any(-1)

    assert seen(window(x)).sum() == 49 and seen(window(x))[7:14, :7].all()
    assert seen(grid(x)).sum() == 49 and seen(grid(x))[2::3, 1::2].all()
    assert seen(grid(window(x))).all()


@pytest.mark.parametrize("size", [(14, 14), (9, 20), (1, 8)], ids=str)
def test_the_gradient_is_finite_where_windows_are_filled_up(size):
    for grid in (False, True):
        attn, x = PartitionAttention(32, grid), torch.randn(1, *size, 32, requires_grad=True)
        attn(x).sum().backward()
        assert x.grad.isfinite().all() and all(p.grad.isfinite().all() for p in attn.parameters())


@pytest.mark.parametrize(("dim", "out_dim", "stride"), [(8, 8, 1), (8, 12, 2), (8, 8, 2)])
@pytest.mark.parametrize("size", [(6, 8), (5, 7)], ids=str)
@torch.no_grad()
def test_mbconv_by_hand(dim, out_dim, stride, size):
    """Normalised first, four times the *output* channels inside; zeros below and to the right alone where it strides
    over an even side; a shortcut of means of 2 x 2."""
    torch.manual_seed(0)
    conv, x = MBConv(dim, out_dim, stride).double().eval(), torch.randn(2, dim, *size, dtype=torch.float64)
    for norm in (m for m in conv.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
            nn.init.uniform_(tensor, 0.5, 1.5)
    layer, norm, act = conv.expand
    y = act(norm(F.conv2d(conv.norm(x), layer.weight)))
    assert y.shape[1] == 4 * out_dim
    before = [1 if stride == 1 or side % 2 else 0 for side in size]
    _, layer, norm, act = conv.depthwise
    y = F.pad(y, (before[1], 1, before[0], 1))
    y = act(norm(F.conv2d(y, layer.weight, stride=stride, groups=4 * out_dim)))
    y = conv.project(conv.se(y))
    shortcut = x
    if stride == 2:
        shortcut = F.pad(x, (0, size[1] % 2, 0, size[0] % 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
    if dim != out_dim:
        shortcut = F.conv2d(shortcut, conv.expand_shortcut.weight, conv.expand_shortcut.bias)
    torch.testing.assert_close(conv(x), shortcut + y)


@torch.no_grad()
def test_windows_before_grids():
    torch.manual_seed(0)
    block, x = MaxViTBlock(32, 32, 2).eval(), torch.randn(1, 32, 40, 20)
    expected = block.grid(block.block(block.conv(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
    torch.testing.assert_close(block(x), expected)


@torch.no_grad()
def test_what_the_classifier_sees():
    """A tanh of a layer of the normalised means; and any size goes."""
    torch.manual_seed(0)
    network = MaxViT((32, 32, 32, 32), (1, 1, 1, 1), stem_dim=4, num_classes=0).eval()
    x = torch.randn(2, 3, 37, 90)
    maps = network.forward_pyramid(x)
    assert [tuple(m.shape[2:]) for m in maps] == [(10, 23), (5, 12), (3, 6), (2, 3)]
    means = F.layer_norm(maps[-1].mean((2, 3)), (32,), network.norm.weight, network.norm.bias, 1e-5)
    torch.testing.assert_close(network(x), torch.tanh(network.hidden(means)))
    assert network(torch.randn(1, 3, 1, 1)).isfinite().all()


def test_refusals():
    with pytest.raises(ValueError, match="MaxViT: dim must be a multiple of head_dim=32; got dim=48"):
        MaxViT((32, 48, 64, 64), (1, 1, 1, 1))
    with pytest.raises(ValueError, match="MaxViT: depths must be greater than 0; got 0"):
        MaxViT((32, 32, 32, 32), (1, 1, 0, 1))
