"""T2T-ViT: the soft splits counted, the performer as the weighted mean that it is, waves for positions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters, theoretical_receptive_field
from stitchwork.layers import explicit_attention
from stitchwork.models.t2t_vit import SPLITS, Performer, T2TViT, TokensToToken, TokenTransformer, sinusoids


def meta(name):
    with torch.device("meta"):
        return create_model(name)


def lively(module, std=0.1):
    """None of its weights is zero; small ones, for a random feature is an exponential."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module.double().eval()


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# Tables 1 and 2: depth, hidden dimension, size of the MLP, million parameters, G multiply-adds.
TABLE_1 = {
    "t2t_vit_7": (7, 256, 512, 4.3, 1.1),
    "t2t_vit_14": (14, 384, 1152, 21.5, 4.8),
    "t2t_vit_19": (19, 448, 1344, 39.2, 8.5),
    "t2t_vit_t_14": (14, 384, 1152, 21.5, 6.1),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_table_1(name):
    depth, dim, hidden, parameters, multiply_adds = TABLE_1[name]
    network = meta(name)
    assert [(b.attn.num_heads, b.mlp.fc1.out_features) for b in network.blocks] == [(dim // 64, hidden)] * depth
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.06)
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) / 1e9 == pytest.approx(multiply_adds, abs=0.06)


@pytest.mark.parametrize("name", TABLE_1)
def test_parameters(name):
    """A performer adds biases and 32 random rows of 64 numbers to what a transformer has."""
    depth, dim, hidden, *_ = TABLE_1[name]
    blocks = depth * (4 * dim**2 + dim + 2 * dim * hidden + hidden + dim + 4 * dim)
    random = 3 * 64 + 32 * 64 if "_t_" not in name else 0
    transforms = sum(2 * width + width * 3 * 64 + random + 3 * (64 * 64 + 64) + 2 * 64 for width in (147, 576))
    around = (576 + 1) * dim + (1 + 197) * dim + 2 * dim + (dim + 1) * 1000
    assert count_parameters(meta(name)) == blocks + transforms + around


def test_the_soft_splits_of_224_pixels():
    """3136 tokens of 7 x 7 pixels, 784 and 196 of 3 x 3 tokens of 64 numbers."""
    seen = []
    with torch.device("meta"):
        module = TokensToToken(3, 256)
        for part in (*module.transforms, module.project):
            part.register_forward_pre_hook(lambda _module, args: seen.append(tuple(args[0].shape[1:])))
        assert module(torch.empty(1, 3, 224, 224)).shape == (1, 256, 14, 14)
    assert seen == [(56 * 56, 3 * 49), (28 * 28, 9 * 64), (14 * 14, 9 * 64)]


@pytest.mark.parametrize("size", [3, 16, 18, 19, 50, 99])
def test_the_grid_of_any_size(size):
    with torch.device("meta"):
        grid = TokensToToken(3, 8)(torch.empty(1, 3, size, 35)).shape[2:]
    assert tuple(grid) == (math.ceil((size + 1) // 4 / 4), 3)


def test_refuses_images_that_the_first_patch_does_not_fit():
    network = T2TViT(64, 1, 1, num_classes=5)
    assert network(torch.randn(1, 3, 3, 4)).shape == (1, 5)
    with pytest.raises(ValueError, match="T2TViT needs height and width of at least 3"):
        network(torch.randn(1, 3, 3, 2))


def test_tokens_overlap():
    """Without the attention a token sees 31 pixels, and the next one begins 16 later: 15 belong to both."""
    assert theoretical_receptive_field([split[:2] for split in SPLITS]) == 31
    module = lively(TokensToToken(1, 4), std=1.0)
    for transform in module.transforms:
        for part in (transform.proj, transform.mlp.fc2):
            nn.init.zeros_(part.weight), nn.init.zeros_(part.bias)
    x = noise(1, 1, 64, 64).requires_grad_()
    (gradient,) = torch.autograd.grad(module(x)[0, :, 1, 2].sum(), x)
    seen = gradient[0, 0] != 0
    assert seen.any(1).nonzero().flatten().tolist() == list(range(2, 2 + 31))
    assert seen.any(0).nonzero().flatten().tolist() == list(range(2 + 16, 2 + 16 + 31))


def test_performer_is_a_weighted_mean():
    """Positive weights, here as the matrix that a performer never holds."""
    performer, x = lively(Performer(10, features=6)), noise(2, 9, 10)
    k, q, v = performer.kqv(performer.norm1(x)).chunk(3, -1)
    k, q = (torch.exp(part @ performer.random.T - part.square().sum(-1, keepdim=True) / 2) for part in (k, q))
    weights = torch.einsum("bnm,bkm->bnk", q, k)
    y = v + performer.proj(weights / weights.sum(-1, keepdim=True) @ v)
    torch.testing.assert_close(performer(x), y + performer.mlp(performer.norm2(y)))


def test_random_features_stand_for_the_exponential():
    """Of many normal rows the mean product of features is exp(x · y): the unnormalised softmax."""
    performer = Performer(8, features=20_000)
    nn.init.normal_(performer.random, generator=torch.Generator().manual_seed(0))
    axes = 0.5 * torch.eye(64)[:2]
    x, y = axes[[0, 0, 0]], torch.stack([axes[0], -axes[0], axes[1]])
    products = (performer.positive(x) * performer.positive(y)).sum(-1)
    assert products.tolist() == pytest.approx([math.exp(0.25), math.exp(-0.25), 1.0], rel=0.05)


@pytest.mark.parametrize("tokens", [20, 40])
def test_a_performer_is_linear_in_the_tokens(tokens):
    """m = 32 random features; the plain transformer takes 2 · 64 N² multiply-adds for what takes 4 · 64 m N here."""
    shared = 147 * 3 * 64 + 3 * 64 * 64
    performer, transformer = Performer(147), TokenTransformer(147)
    assert count_multiply_adds(performer, input_size=(1, tokens, 147)) == tokens * (shared + 4 * 64 * 32 + 32)
    assert count_multiply_adds(transformer, input_size=(1, tokens, 147)) == tokens * shared + 2 * 64 * tokens**2


def test_the_plain_transformer_scales_by_its_input():
    transform, x = lively(TokenTransformer(9), std=0.3), noise(2, 5, 9)
    q, k, v = transform.qkv(transform.norm1(x)).chunk(3, -1)
    y = v + transform.proj((q @ k.transpose(1, 2) / 3).softmax(-1) @ v)
    torch.testing.assert_close(transform(x), y + transform.mlp(transform.norm2(y)))


def test_positions_are_waves():
    """Columns in pairs of sine and cosine, so that the product of two places depends on their distance alone."""
    table = sinusoids(20, 6).double()
    place = torch.arange(20.0, dtype=torch.float64)
    for column in range(6):
        angle = place / 10000 ** (column // 2 * 2 / 6)
        torch.testing.assert_close(table[:, column], angle.cos() if column % 2 else angle.sin(), atol=1e-5, rtol=0)
    products = table @ table.T
    torch.testing.assert_close(products[:-1, :-1], products[1:, 1:], atol=1e-5, rtol=0)


def test_waves_and_random_rows_are_not_trained():
    network = meta("t2t_vit_7")
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"tokens_to_token.transforms.{i}.random" for i in (0, 1)} | {"positions.table"}


def test_positions_of_another_size_are_interpolated():
    positions = T2TViT(64, 1, 1).positions
    assert positions.at((14, 14)) is positions.table and positions.table[0].equal(sinusoids(197, 64))
    places = positions.table[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    expected = F.interpolate(places, (5, 16), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    torch.testing.assert_close(positions.at((5, 16))[:, 1:], expected)


def test_both_forms_of_attention():
    network, x = lively(T2TViT(64, 1, 2, performer=False, num_classes=5)), noise(2, 3, 40, 35)
    with explicit_attention(network):
        plain = network(x)
    torch.testing.assert_close(network(x), plain)


def test_refuses_a_width_that_heads_do_not_fill():
    with pytest.raises(ValueError, match="T2TViT: dim must be a multiple of head_dim=64; got dim=100"):
        T2TViT(100, 1, 2)
