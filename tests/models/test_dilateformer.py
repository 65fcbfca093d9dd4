"""DilateFormer: few neighbours at three spacings, then everything; and table 1 by hand."""

import pytest
import torch
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import explicit_attention
from stitchwork.models.dilateformer import DilateBlock, DilatedAttention, DilateFormer, GlobalAttention


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def by_hand(dim, depths):
    """Parameters of a network."""
    total = 27 * 16 + 2 * 16 + 9 * 16 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64 + 9 * 64 * dim
    for stage, depth in enumerate(depths):
        width = dim << stage
        if stage:
            total += (9 * width // 2 + 1) * width + 2 * width
        # Positions, two norms, attention of either kind, perceptron.
        total += depth * (10 * width + 4 * width + 4 * (width + 1) * width + 8 * width**2 + 5 * width)
    return total + 16 * dim + (8 * dim + 1) * 1000


# Table 1: channels and blocks; millions of parameters (the official code's S has 24 where the paper prints 21).
@pytest.mark.parametrize(
    ("name", "dim", "depths", "parameters"),
    [
        ("dilateformer_tiny", 72, (2, 2, 6, 2), 17),
        ("dilateformer_small", 72, (3, 5, 8, 3), 24),
        ("dilateformer_base", 96, (4, 8, 10, 3), 47),
    ],
)
def test_table_1(name, dim, depths, parameters):
    network = meta(name)
    assert count_parameters(network) == by_hand(dim, depths)
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.5)
    maps = network.forward_pyramid(torch.empty(1, 3, 224, 224, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(dim << i, 56 >> i, 56 >> i) for i in range(4)]
    attentions = [[block.block.attn for block in stage.blocks] for stage in network.stages]
    assert [len(stage) for stage in attentions] == list(depths)
    assert [{type(a) for a in stage} for stage in attentions] == [{DilatedAttention}] * 2 + [{GlobalAttention}] * 2
    assert [{a.num_heads for a in stage} for stage in attentions] == [{3}, {6}, {12}, {24}]
    assert {a.dilation for stage in attentions[:2] for a in stage} == {(1, 2, 3)}


def test_stem():
    """Section 3.3: four 3x3, to 16, 32, 64 and C channels, of which the second and the fourth stride; the last is
    bare."""
    stem = meta("dilateformer_tiny").stem
    convolutions = [m for m in stem if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in convolutions] == [
        (16, 3, 1),
        (32, 3, 2),
        (64, 3, 1),
        (72, 3, 2),
    ]
    assert stem[-1] is convolutions[-1] and not any(m.bias is not None for m in convolutions)


@pytest.mark.parametrize("head", range(6))
@torch.no_grad()
def test_pairs_of_heads_share_a_spacing(head):
    """Of six heads, two see neighbours side by side, two see every second, two every third."""
    torch.manual_seed(0)
    attn, seen = DilatedAttention(12, 6).double(), {}
    attn.proj.register_forward_pre_hook(lambda module, inputs: seen.update(y=inputs[0]))
    x = torch.randn(1, 9, 10, 12, dtype=torch.float64)
    other = x.clone()
    other[0, 4, 5] += torch.randn(12, dtype=torch.float64)
    before, after = ((attn(image), seen["y"])[1] for image in (x, other))
    moved = (before != after)[0, 2 * head : 2 * head + 2].any(0)
    r = 1 + head // 2
    assert moved.sum() == 9 and moved[4 - r : 5 + r : r, 5 - r : 6 + r : r].all()


def test_a_block_sees_three_rings():
    """Neighbours at distances 1, 2 and 3; with the 3x3 in front of the block, 9 x 9 pixels without a gap."""
    torch.manual_seed(0)
    dilated, full = (DilateBlock(12, 3, kind).double() for kind in (True, False))
    x = torch.randn(1, 12, 15, 13, dtype=torch.float64, requires_grad=True)

    def seen(y):  # by the pixel (7, 6)
        return torch.autograd.grad(y[0, :, 7, 6].sum(), x)[0][0].any(0)

    attended = seen(dilated.block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    rings = {(7 + r * a, 6 + r * b) for r in (1, 2, 3) for a in (-1, 0, 1) for b in (-1, 0, 1)}
    assert {tuple(place) for place in attended.nonzero().tolist()} == rings and len(rings) == 25
    assert seen(dilated(x)).sum() == 81 and seen(dilated(x))[3:12, 2:11].all()
    assert seen(full(x)).all()


@torch.no_grad()
def test_dilated_attention_by_hand():
    """Eqs. 2 to 4 on a map of 5 x 4 pixels; beyond the border keys and values are zeros, which take weight."""
    torch.manual_seed(0)
    attn, x = DilatedAttention(6, 3).double(), torch.randn(2, 5, 4, 6, dtype=torch.float64)
    weight, bias = attn.qkv.weight[:, :, 0, 0], attn.qkv.bias
    q, k, v = (x @ weight.T + bias).unflatten(-1, (3, 3, 2)).permute(3, 4, 0, 1, 2, 5)  # (heads, B, H, W, d) each
    y = torch.empty(2, 5, 4, 3, 2, dtype=torch.float64)
    for r in (1, 2, 3):
        for i in range(5):
            for j in range(4):
                keys, values = q.new_zeros(9, 2, 2), q.new_zeros(9, 2, 2)
                for n, (a, b) in enumerate((i + r * a, j + r * b) for a in (-1, 0, 1) for b in (-1, 0, 1)):
                    if 0 <= a < 5 and 0 <= b < 4:
                        keys[n], values[n] = k[r - 1, :, a, b], v[r - 1, :, a, b]
                weights = ((q[r - 1, :, i, j] * keys).sum(-1) / 2**0.5).softmax(0)  # (9, B)
                y[:, i, j, r - 1] = (weights[..., None] * values).sum(0)
    expected = y.flatten(3) @ attn.proj.weight[:, :, 0, 0].T + attn.proj.bias
    torch.testing.assert_close(attn(x), expected)


@torch.no_grad()
def test_global_attention_in_both_forms():
    torch.manual_seed(0)
    attn, x = GlobalAttention(6, 3).double(), torch.randn(2, 5, 4, 6, dtype=torch.float64)
    q, k, v = attn.qkv(x).flatten(1, 2).unflatten(-1, (3, 3, 2)).permute(2, 0, 3, 1, 4)
    expected = attn.proj(((q @ k.mT / 2**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)).unflatten(1, (5, 4))
    torch.testing.assert_close(attn(x), expected)
    with explicit_attention(attn):
        torch.testing.assert_close(attn(x), expected)


def test_only_global_attention_grows_with_the_square():
    """Matrix products alone: 2 N^2 C for all pairs; the neighbours' products are taken element by element."""
    for pixels, size in ((60, (6, 10)), (240, (12, 20))):
        layers, shape = pixels * 4 * 6**2, (1, *size, 6)
        assert count_multiply_adds(DilatedAttention(6, 3), input_size=shape) == layers
        assert count_multiply_adds(GlobalAttention(6, 3), input_size=shape) == layers + 2 * pixels**2 * 6


@torch.no_grad()
def test_positions_stand_beside_a_shortcut():
    """With branches that are silent, a block adds the depthwise 3x3 of the map to the map."""
    torch.manual_seed(0)
    block, x = DilateBlock(6, 3, True), torch.randn(1, 6, 5, 4)
    for layer in (block.block.attn.proj, block.block.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    expected = x + nn.functional.conv2d(x, block.position.weight, block.position.bias, padding=1, groups=6)
    torch.testing.assert_close(block(x), expected)


@torch.no_grad()
def test_any_size():
    torch.manual_seed(0)
    network = DilateFormer((1, 1, 1, 1), dim=6, num_classes=3).eval()
    maps = network.forward_pyramid(torch.randn(1, 3, 37, 90))
    assert [tuple(m.shape[1:]) for m in maps] == [(6, 10, 23), (12, 5, 12), (24, 3, 6), (48, 2, 3)]
    assert network(torch.randn(1, 3, 1, 1)).isfinite().all()


def test_refusals():
    with pytest.raises(ValueError, match="DilateFormer: dim must be a multiple of heads=3; got dim=64: take 66"):
        DilateFormer((1, 1, 1, 1), dim=64)
    with pytest.raises(ValueError, match="DilateFormer: depths must be greater than 0; got 0"):
        DilateFormer((1, 0, 1, 1))
