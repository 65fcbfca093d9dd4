"""CeiT: neighbours meet in the feed-forward part, class tokens across the layers, and both are counted."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import Mlp, SelfAttention, TransformerBlock, explicit_attention
from stitchwork.models.ceit import CeiT, CeiTBlock, LayerwiseClassAttention, LeFF


def meta(name):
    with torch.device("meta"):
        return create_model(name)


def lively(module, std=0.3):
    """None of its weights is zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module.double().eval()


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# Table 2: width, heads, million parameters; twelve blocks each.
TABLE_2 = {"ceit_tiny": (192, 3, 6.4), "ceit_small": (384, 6, 24.2), "ceit_base": (768, 12, 94.4)}


@pytest.mark.parametrize("name", TABLE_2)
def test_table_2(name):
    dim, heads, parameters = TABLE_2[name]
    network = meta(name)
    found = [(b.attn.num_heads, b.leff.widen.in_channels, b.leff.depthwise.in_channels) for b in network.blocks]
    assert found == [(heads, dim, 4 * dim)] * 12
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.06)


@pytest.mark.parametrize("name", TABLE_2)
def test_cost(name):
    """Stem and patches, twelve blocks of attention and LeFF, the attention across them, the head."""
    dim, *_ = TABLE_2[name]
    network = meta(name)
    block = 12 * dim**2 + (8 + 63) * dim  # LeFF: 8 C² + 63 C, of which 36 C are the depthwise kernels
    across = 12 * dim**2 + 13 * dim
    around = 64 * 147 + 2 * 64 + (64 * 16 + 1) * dim + (1 + 197 + 12) * dim + 2 * dim + (dim + 1) * 1000
    assert count_parameters(network) == 12 * block + across + around
    block = 4 * 197 * dim**2 + 2 * 197**2 * dim + 196 * (8 * dim**2 + 9 * 4 * dim)
    across = (1 + 2 * 12 + 1 + 8) * dim**2 + 2 * 12 * dim
    around = 112**2 * 64 * 147 + 196 * 64 * 16 * dim + 1000 * dim
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) == 12 * block + across + around


def test_leff_sees_the_neighbours_and_lets_the_class_token_pass():
    leff, x = lively(LeFF(4, 16)), noise(1, 1 + 5 * 7, 4).requires_grad_()
    y = leff(x, (5, 7))
    assert y[:, 0].equal(x[:, 0])
    (gradient,) = torch.autograd.grad(y[0, 1 + 2 * 7 + 3].sum(), x)
    seen = gradient[0].abs().sum(1) != 0
    assert not seen[0]
    assert seen[1:].unflatten(0, (5, 7)).nonzero().tolist() == [[i, j] for i in (1, 2, 3) for j in (2, 3, 4)]


def test_no_activation_follows_the_last_layer_of_leff():
    leff, x = lively(LeFF(4, 16)), noise(1, 1 + 2 * 3, 4)
    y = x[:, 1:].transpose(1, 2).unflatten(2, (2, 3))
    y = F.gelu(leff.norm1(F.conv2d(y, leff.widen.weight, leff.widen.bias)))
    y = F.gelu(leff.norm2(F.conv2d(y, leff.depthwise.weight, leff.depthwise.bias, padding=1, groups=16)))
    y = leff.norm3(F.conv2d(y, leff.narrow.weight, leff.narrow.bias))
    torch.testing.assert_close(leff(x, (2, 3))[:, 1:], y.flatten(2).transpose(1, 2))


def test_the_class_token_gets_its_normalised_self():
    block, x = lively(CeiTBlock(64)), noise(2, 1 + 6, 64)
    nn.init.zeros_(block.attn.proj.weight), nn.init.zeros_(block.attn.proj.bias)
    torch.testing.assert_close(block(x, (2, 3))[:, 0], x[:, 0] + block.norm2(x[:, 0]))


def test_attention_across_the_layers_is_the_last_row_of_a_block():
    """All other rows of a transformer's block would be thrown away, so that they are not computed."""
    across, x = lively(LayerwiseClassAttention(128), std=0.1), noise(2, 5, 128)
    whole = TransformerBlock(128, SelfAttention(128, 2), Mlp(128, 512)).double()
    inside = {
        ("attn." if key.startswith(("qkv", "proj")) else "") + key: value for key, value in across.state_dict().items()
    }
    whole.load_state_dict(inside)
    torch.testing.assert_close(across(x), whole(x)[:, -1])


def test_features_are_the_class_tokens_of_all_layers():
    network, x, seen = lively(CeiT(64, depth=3, num_classes=5), std=0.1), noise(2, 3, 48, 40), []
    for block in network.blocks:
        block.register_forward_hook(lambda _module, _args, output: seen.append(output[:, 0]))
    features = network.forward_features(x)
    assert features.equal(torch.stack(seen, 1)) and features.shape == (2, 3, 64)
    features = features.detach().requires_grad_()
    network.forward_head(features).square().sum().backward()
    assert (features.grad.abs().sum((0, 2)) > 0).all(), "a layer's class token is not looked at"


def test_every_layer_has_its_own_place():
    """Without the learned places of the layers, their order would be nothing to the last class token."""
    network, x = lively(CeiT(64, depth=3, num_classes=5)), noise(1, 3, 64)
    swapped = x[:, [1, 0, 2]]
    assert (network.forward_head(x) - network.forward_head(swapped)).abs().max() > 1e-3
    nn.init.zeros_(network.layer_position)
    torch.testing.assert_close(network.forward_head(x), network.forward_head(swapped))


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (16, 47)], ids=str)
def test_any_size(size):
    """Two halvings that round up, then patches of four, the last of which ends in zeros."""
    network, x = CeiT(64, depth=1, num_classes=5).eval(), torch.randn(1, 3, *size)
    grid = network.patch_embed(network.stem(x)).shape[1:3]
    assert tuple(grid) == tuple(math.ceil(side / 16) for side in size)
    assert network(x).shape == (1, 5)


def test_positions_of_another_size_are_interpolated():
    positions = CeiT(64, depth=1).positions
    assert positions.at((14, 14)) is positions.table
    places = positions.table[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    expected = F.interpolate(places, (20, 9), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    torch.testing.assert_close(positions.at((20, 9))[:, 1:], expected)


def test_the_stem_is_linear_until_it_pools():
    """The code's 64 channels, and no activation behind the BatchNorm."""
    torch.manual_seed(0)
    y = CeiT(64, depth=1).stem[0](torch.randn(4, 3, 32, 32))
    assert y.shape[1] == 64 and y.amin((0, 2, 3)).max() < -1


def test_both_forms_of_attention():
    network, x = lively(CeiT(64, depth=2, num_classes=5), std=0.1), noise(2, 3, 40, 64)
    with explicit_attention(network):
        plain = network(x)
    torch.testing.assert_close(network(x), plain)


def test_refuses_a_width_that_heads_do_not_fill():
    with pytest.raises(ValueError, match="CeiT: dim must be a multiple of head_dim=64; got dim=100"):
        CeiT(100)
