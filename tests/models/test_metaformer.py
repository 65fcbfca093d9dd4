"""ConvFormer and CAFormer: table and cost, what each stage mixes with, StarReLU's two numbers, no biases."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import DropPath, LayerNorm2d, LayerScale, explicit_attention
from stitchwork.models.metaformer import (
    Attention,
    GroupNorm1,
    MetaFormer,
    MetaFormerBlock,
    Pooling,
    SepConv,
    SquaredReLUHead,
    StarReLU,
)


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def lively(module, std=0.3):
    """None of its weights is zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module.double().eval()


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


SMALL, MEDIUM, BASE = (64, 128, 320, 512), (96, 192, 384, 576), (128, 256, 512, 768)
S18, S36 = (3, 3, 9, 3), (3, 12, 18, 3)
# Tables 1 and 2: blocks, channels, million parameters and G multiply-adds, of ConvFormer and of CAFormer.
TABLE_2 = {
    "s18": (S18, SMALL, (27, 3.9), (26, 4.1)),
    "s36": (S36, SMALL, (40, 7.6), (39, 8.0)),
    "m36": (S36, MEDIUM, (57, 12.8), (56, 13.2)),
    "b36": (S36, BASE, (100, 22.6), (99, 23.2)),
}


@pytest.mark.parametrize("size", TABLE_2)
def test_table_2(size):
    depths, dims, *costs = TABLE_2[size]
    mixers = [SepConv] * 4, [SepConv, SepConv, Attention, Attention]
    for family, mixer, (parameters, multiply_adds) in zip(("convformer", "caformer"), mixers, costs):
        network = meta(f"{family}_{size}")
        assert network.pyramid_channels == dims and tuple(len(stage.blocks) for stage in network.stages) == depths
        assert [{type(block.mixer) for block in stage.blocks} for stage in network.stages] == [{m} for m in mixer]
        assert round(count_parameters(network) / 1e6) == parameters
        cost = count_multiply_adds(network, input_size=(1, 3, 224, 224))
        assert cost / 1e9 == pytest.approx(multiply_adds, abs=0.06)


def test_poolformer_v2_has_neither_wide_head_nor_weights_to_mix():
    network = meta("poolformerv2_s12")
    assert count_parameters(network) / 1e6 == pytest.approx(11.9, abs=0.06)
    assert network.head.in_features == 512 and meta("convformer_s18").head.in_features == 4 * 512
    for stage in network.stages:
        for block in stage.blocks:
            assert isinstance(block.mixer, Pooling) and count_parameters(block.mixer) == 0
            assert isinstance(block.norm1, GroupNorm1) and isinstance(block.norm2, GroupNorm1)


@pytest.mark.parametrize(
    ("mixer", "weights", "multiply_adds"),
    [
        (SepConv, 4 * 64**2 + 98 * 64 + 2, 48 * (4 * 64**2 + 98 * 64)),
        (Attention, 4 * 64**2, 48 * 4 * 64**2 + 2 * 48**2 * 64),
        (Pooling, 0, 0),
    ],
)
def test_cost_of_a_block(mixer, weights, multiply_adds):
    """The mixer's share besides 8 C² for the perceptron; two norms and two residual scales have C numbers each."""
    block = MetaFormerBlock(64, mixer, LayerNorm2d, scaled=True)
    block.norm1 = block.norm2 = nn.Identity()
    assert count_parameters(block) == weights + 8 * 64**2 + 2 + 2 * 64
    assert count_multiply_adds(block, input_size=(1, 64, 6, 8)) == multiply_adds + 48 * 8 * 64**2


def test_star_relu():
    """Its closed form and the gradients of both numbers, which the whole layer shares."""
    act, x = StarReLU().double(), noise(2, 3, 4, 5)
    assert act(x).equal(x.clamp(min=0) ** 2), "it starts as the squared ReLU"
    with torch.no_grad():
        act.scale.fill_(-0.7), act.bias.fill_(0.3)
    torch.testing.assert_close(act(x), -0.7 * x.clamp(min=0) ** 2 + 0.3)
    act(x).sum().backward()
    assert act.scale.grad.item() == pytest.approx((x.clamp(min=0) ** 2).sum().item())
    assert act.bias.grad.item() == x.numel()


def test_the_papers_numbers_keep_a_normal_input_normal():
    """Section 2: E relu(x)² = 1/2 and Var relu(x)² = 5/4, so that s = √(4/5) and b = -s / 2."""
    act = StarReLU().double()
    with torch.no_grad():
        act.scale.fill_(math.sqrt(4 / 5)), act.bias.fill_(-math.sqrt(4 / 5) / 2)
    assert (act.scale.item(), act.bias.item()) == pytest.approx((0.8944, -0.4472), abs=5e-5)
    x = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    moments = [torch.trapezoid(density * act(x) ** power, x).item() for power in (1, 2)]
    assert moments == pytest.approx([0, 1], abs=1e-6)


def test_a_block_by_hand():
    """x' = r_1 x + mixer(norm(x)), y = r_2 x' + mlp(norm(x')): the scale is on the shortcut, not on the branch."""
    block, x = lively(MetaFormerBlock(6, SepConv, GroupNorm1, scaled=True)), noise(2, 6, 5, 7)
    middle = block.residual1.gamma * x + block.mixer(block.norm1(x))
    hidden = F.conv2d(block.norm2(middle), block.mlp[0].weight)
    hidden = block.mlp[1].scale * F.relu(hidden) ** 2 + block.mlp[1].bias
    expected = block.residual2.gamma * middle + F.conv2d(hidden, block.mlp[2].weight)
    torch.testing.assert_close(block(x), expected)


def test_residual_scales_are_in_the_last_two_stages():
    network = MetaFormer((1, 1, 2, 1), (4, 4, 4, 8), (Pooling,) * 4, num_classes=3)
    scales = [[m for m in stage.modules() if isinstance(m, LayerScale)] for stage in network.stages]
    assert [len(found) for found in scales] == [0, 0, 4, 2]
    assert all((m.gamma == 1).all() for found in scales for m in found)


@pytest.mark.parametrize("name", ["convformer_s18", "caformer_s18", "poolformerv2_s12"])
def test_there_are_no_biases_but_those_of_the_activations(name):
    for stage in meta(name).stages:
        for path, part in stage.blocks.named_modules():
            assert isinstance(part, StarReLU) or getattr(part, "bias", None) is None, path
        assert stage.norm.bias is None and stage.conv.bias is not None


def test_the_convolution_sees_7_pixels_of_its_channels():
    """All positive in front of the activation, so that nothing is cut off."""
    mixer, x = lively(SepConv(3)), noise(1, 3, 11, 13).abs().requires_grad_()
    mixer[0].weight.data.abs_()
    (gradient,) = torch.autograd.grad(mixer(x)[0, 1, 5, 6], x)
    seen = gradient[0].abs().sum(0) != 0
    assert seen.sum() == 49 and seen[2:9, 3:10].all()


def test_attention_is_among_all_pixels_in_heads_of_32():
    mixer, x = lively(Attention(64), std=0.1), noise(1, 64, 3, 4)
    rows, heads = x[0].flatten(1).T @ mixer.qkv.weight.T, []  # (N, 3 C)
    for first in (0, 32):
        q, k, v = (rows[:, part + first : part + first + 32] for part in (0, 64, 128))
        heads.append((q @ k.T / math.sqrt(32)).softmax(1) @ v)
    expected = (torch.cat(heads, 1) @ mixer.proj.weight.T).T.unflatten(1, (3, 4))
    torch.testing.assert_close(mixer(x)[0], expected)
    with explicit_attention(mixer):
        torch.testing.assert_close(mixer(x)[0], expected)
    with pytest.raises(ValueError, match="Attention: dim must be a multiple of head_dim=32; got dim=48"):
        Attention(48)


def test_pooling_averages_the_pixels_that_exist():
    x = noise(1, 2, 4, 4)
    y = Pooling(2)(x) + x
    assert y[0, 0, 0, 0].item() == pytest.approx(x[0, 0, :2, :2].mean().item())
    assert y[0, 1, 2, 0].item() == pytest.approx(x[0, 1, 1:4, :2].mean().item())


def test_group_norm_is_over_the_whole_image_and_does_not_shift():
    norm, x = GroupNorm1(4).double(), 3 + 2 * noise(2, 4, 5, 6)
    nn.init.constant_(norm.weight, 2.0)
    flat = x.flatten(1)
    expected = 2 * (flat - flat.mean(1, keepdim=True)) / (flat.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(norm(x).flatten(1), expected)
    assert count_parameters(norm) == 4


def test_the_wide_head():
    widen, x = lively(SquaredReLUHead(5)), noise(2, 5)
    hidden = (x @ widen.fc.weight.T + widen.fc.bias).clamp(min=0) ** 2
    torch.testing.assert_close(widen(x), F.layer_norm(hidden, (20,), widen.norm.weight, widen.norm.bias, 1e-6))


@pytest.mark.parametrize("size", [(3, 3), (33, 50)], ids=str)
def test_any_size(size):
    mixers = (SepConv, Pooling, Attention, Attention)
    network = MetaFormer((1, 1, 1, 1), (8, 8, 32, 32), mixers, num_classes=5).eval()
    maps = network.forward_pyramid(torch.randn(1, 3, *size))
    sides = [[math.ceil((side + 1) // 4 / stride) for side in size] for stride in (1, 2, 4, 8)]
    assert [list(m.shape[2:]) for m in maps] == sides
    with pytest.raises(ValueError, match="MetaFormer needs height and width of at least 3"):
        network(torch.randn(1, 3, 2, 9))


def test_stochastic_depth_grows_with_depth():
    rates = [m.rate for m in meta("caformer_s18", drop_path_rate=0.17).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.01 * i for i in range(18)])
