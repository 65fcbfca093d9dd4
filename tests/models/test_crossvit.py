"""CrossViT: two branches by the table, and messengers that cost little and touch nothing but themselves."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import DropPath, explicit_attention
from stitchwork.models.crossvit import ConvPatchEmbed, CrossAttention, CrossViT, Exchange


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def lively(module, std=0.3):
    """None of its weights is zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module.double().eval()


def tiny(**arguments):
    return lively(
        CrossViT(**{"dims": (8, 12), "depth": 2, "num_heads": 2, "mlp_ratio": 2, "num_classes": 5, **arguments})
    )


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# Table 1: widths, heads, blocks of the large patches' branch, ratio of the MLPs, million parameters, G multiply-adds.
TABLE_1 = {
    "crossvit_tiny": (96, 192, 3, 4, 4, 6.9, 1.6),
    "crossvit_small": (192, 384, 6, 4, 4, 26.7, 5.6),
    "crossvit_base": (384, 768, 12, 4, 4, 104.7, 21.2),
    "crossvit_9": (128, 256, 4, 3, 3, 8.6, 1.8),
    "crossvit_15": (192, 384, 6, 5, 3, 27.4, 5.8),
    "crossvit_18": (224, 448, 7, 6, 3, 43.3, 9.0),
    "crossvit_9_dagger": (128, 256, 4, 3, 3, 8.8, 2.0),
    "crossvit_15_dagger": (192, 384, 6, 5, 3, 28.2, 6.1),
    "crossvit_18_dagger": (224, 448, 7, 6, 3, 44.3, 9.5),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_table_1(name):
    small, large, heads, depth, _, parameters, multiply_adds = TABLE_1[name]
    network = meta(name)
    assert network.dims == (small, large) and len(network.exchanges) == 3
    for exchange in network.exchanges:
        assert [len(blocks) for blocks in exchange.blocks] == [1, depth]
        assert {m.num_heads for m in exchange.modules() if hasattr(m, "num_heads")} == {heads}
    assert [positions.grid for positions in network.positions] == [(20, 20), (14, 14)]
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, rel=0.02)
    assert count_multiply_adds(network, input_size=(1, 3, 240, 240)) / 1e9 == pytest.approx(multiply_adds, abs=0.06)


@pytest.mark.parametrize("name", TABLE_1)
def test_parameters(name):
    """Every branch has 1 block or some in an exchange, a bridge there, one home, and a cross attention."""
    small, large, _, depth, ratio, *_ = TABLE_1[name]
    by_hand = 0
    for dim, other, blocks, patch, tokens in ((small, large, 1, 12, 401), (large, small, depth, 16, 197)):
        block = (4 + 2 * ratio) * dim**2 + (9 + ratio) * dim
        there = 2 * dim + dim * other + other
        home = 2 * other + other * dim + dim
        visit = 2 * other + 4 * (other**2 + other)
        embed = (3 * patch**2 + 1) * dim
        if name.endswith("dagger"):
            quarter, half = dim // 4, dim // 2
            embed = (3 * 49 + 1) * quarter + (9 * quarter + 1) * half + (9 * half + 1) * dim
        by_hand += 3 * (blocks * block + there + home + visit) + embed + (1 + tokens + 2) * dim + (dim + 1) * 1000
    assert count_parameters(meta(name)) == by_hand


@pytest.mark.parametrize("patches", [25, 50])
def test_a_visit_is_linear_in_the_tokens(patches):
    """Keys and values for all, one query: 2 N C² + 2 N C multiply-adds, and C² at the entrance and at the exit."""
    tokens = 1 + patches
    cost = count_multiply_adds(CrossAttention(24, 3), input_size=(1, tokens, 24))
    assert cost == tokens * (2 * 24**2 + 2 * 24) + 2 * 24**2


def test_a_visit_by_hand():
    visit, x = lively(CrossAttention(6, 2)), noise(1, 5, 6)
    y = visit.norm(x[0])
    q, k, v = visit.q(y[0]), visit.k(y), visit.v(y)
    heads = [(k[:, h] @ q[h] / 3**0.5).softmax(0) @ v[:, h] for h in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(visit(x)[0, 0], x[0, 0] + visit.proj(torch.cat(heads)))


def test_equations_3_to_5():
    """With no blocks before: f, the visit among the other's patches, g; patch tokens stay where they are."""
    exchange = lively(Exchange((4, 6), (1, 1), 2, 2, [0.0]))
    exchange.blocks = nn.ModuleList([nn.Identity(), nn.Identity()])
    branches = [noise(2, 1 + 9, 4), noise(2, 1 + 4, 6)]

    def bridge(part, x):
        norm, _, linear = part
        return linear(F.gelu(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, 1e-6)))

    for i, changed in enumerate(exchange(branches)):
        assert changed[:, 1:].equal(branches[i][:, 1:])
        abroad = torch.cat([bridge(exchange.leave[i], branches[i][:, :1]), branches[1 - i][:, 1:]], 1)
        torch.testing.assert_close(changed[:, :1], bridge(exchange.home[i], exchange.visit[i](abroad)))


def test_a_messenger_reads_the_other_branch():
    exchange = lively(Exchange((4, 6), (1, 1), 2, 2, [0.0]))
    exchange.blocks = nn.ModuleList([nn.Identity(), nn.Identity()])
    branches = [noise(1, 1 + 9, 4).requires_grad_(), noise(1, 1 + 4, 6).requires_grad_()]
    for i in (0, 1):
        own, other = torch.autograd.grad(exchange(branches)[i][:, 0].sum(), (branches[i], branches[1 - i]))
        assert own[0].abs().sum(1).nonzero().flatten().tolist() == [0]
        assert other[0].abs().sum(1).nonzero().flatten().tolist() == list(range(1, other.shape[1]))


def test_the_large_patches_see_a_smaller_image():
    """240 and 224 pixels, so that both sizes of patches fill the image: 400 and 196 tokens."""
    network, x, seen = tiny(depth=1), noise(1, 3, 240, 240), []
    for embed in network.embeds:
        embed.register_forward_hook(lambda _module, args, output: seen.append((args[0], output)))
    with torch.no_grad():
        network(x)
    assert [tuple(tokens.shape[1:3]) for _, tokens in seen] == [(20, 20), (14, 14)]
    assert [positions.table.shape[1] for positions in network.positions] == [401, 197]
    assert seen[0][0].equal(x) and seen[1][0].equal(F.interpolate(x, (224, 224), mode="bicubic"))


def test_logits_are_the_mean_of_two_heads():
    network = tiny()
    features = network.forward_features(noise(2, 3, 48, 48))
    first, second = network.head
    torch.testing.assert_close(network.forward_head(features), (first(features[:, :8]) + second(features[:, 8:])) / 2)


@pytest.mark.parametrize("conv_embed", [False, True])
@pytest.mark.parametrize("size", [(2, 2), (31, 50)], ids=str)
def test_any_size(size, conv_embed):
    network, x = tiny(depth=1, conv_embed=conv_embed), noise(1, 3, *size)
    assert network(x).shape == (1, 5)
    with pytest.raises(ValueError, match="CrossViT needs height and width of at least 2"):
        network(x[..., :1])


@pytest.mark.parametrize(("patch", "size"), [(12, (240, 30)), (16, (224, 49)), (12, (1, 12)), (16, (17, 1))])
def test_convolutions_make_as_many_patches(patch, size):
    tokens = ConvPatchEmbed(3, 8, patch)(torch.randn(1, 3, *size))
    assert tokens.shape == (1, -(-size[0] // patch), -(-size[1] // patch), 8)


def test_positions_of_another_size_are_interpolated():
    for positions, native in zip(tiny().positions, (20, 14)):
        assert positions.at((native, native)) is positions.table
        places = positions.table[:, 1:].transpose(1, 2).unflatten(2, (native, native))
        expected = F.interpolate(places, (9, 25), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
        torch.testing.assert_close(positions.at((9, 25))[:, 1:], expected)


def test_both_forms_of_attention():
    network, x = tiny(), noise(2, 3, 40, 64)
    with explicit_attention(network):
        plain = network(x)
    torch.testing.assert_close(network(x), plain)


def test_stochastic_depth_grows_along_the_deep_branch():
    """The shallow branch has the rate of the first block of its exchange, the visits have that of the last one."""
    for index, exchange in enumerate(meta("crossvit_9", drop_path_rate=0.16).exchanges):
        rates = [0.02 * (3 * index + i) for i in range(3)]
        for parts, expected in (
            (exchange.blocks[0], rates[:1]),
            (exchange.blocks[1], rates),
            (exchange.visit, rates[-1:] * 2),
        ):
            assert [m.rate for m in parts.modules() if isinstance(m, DropPath)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": (8, 0)}, "CrossViT: dims must be greater than 0; got 0"),
        ({"dims": (8, 13)}, "dim must be a multiple of num_heads=2; got dim=13"),
        ({"mlp_ratio": 0}, "CrossViT: mlp_ratio must be greater than 0; got 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)
