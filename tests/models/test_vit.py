"""ViT by hand: its cost from formulas, its equations in plain steps, its positions for other sizes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import DropPath, explicit_attention
from stitchwork.models.vit import ViT


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def tiny(**arguments):
    """A network for 4 x 4 patches, none of whose weights is zero."""
    sizes = {"dim": 12, "depth": 2, "num_heads": 3, "patch_size": 4, "num_classes": 5, "image_size": 16}
    torch.manual_seed(0)
    network = ViT(**{**sizes, **arguments})
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# Table 1: layers, hidden size, MLP size, heads, million parameters.
@pytest.mark.parametrize(
    ("name", "layers", "hidden", "mlp", "heads", "parameters"),
    [
        ("vit_base_patch16", 12, 768, 3072, 12, 86),
        ("vit_large_patch16", 24, 1024, 4096, 16, 307),
        ("vit_huge_patch14", 32, 1280, 5120, 16, 632),
    ],
)
def test_table_1(name, layers, hidden, mlp, heads, parameters):
    network = meta(name)
    for block in network.blocks:
        assert (block.mlp.fc1.in_features, block.mlp.fc1.out_features, block.attn.num_heads) == (hidden, mlp, heads)
    assert len(network.blocks) == layers
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, rel=0.01)


@pytest.mark.parametrize(
    ("name", "dim", "depth", "patch"),
    [
        ("vit_tiny_patch16", 192, 12, 16),
        ("vit_small_patch16", 384, 12, 16),
        ("vit_base_patch16", 768, 12, 16),
        ("vit_base_patch32", 768, 12, 32),
        ("vit_large_patch16", 1024, 24, 16),
        ("vit_huge_patch14", 1280, 32, 14),
    ],
)
def test_cost(name, dim, depth, patch):
    """A block has 12 C² + 13 C parameters and takes 12 N C² + 2 N² C multiply-adds; the rest stands around it."""
    network, tokens, pixels = meta(name), (224 // patch) ** 2 + 1, 3 * patch**2
    around = (pixels + 1) * dim + dim + tokens * dim + 2 * dim + (dim + 1) * 1000
    assert count_parameters(network) == depth * (12 * dim**2 + 13 * dim) + around
    around = (tokens - 1) * pixels * dim + 1000 * dim
    by_hand = depth * (12 * tokens * dim**2 + 2 * tokens**2 * dim) + around
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) == by_hand


def test_equations_1_to_4():
    """One image and one block, patch by patch and head by head."""
    network, image = tiny(depth=1), noise(3, 16, 16)
    (block,) = network.blocks
    corners = [(row, column) for row in range(0, 16, 4) for column in range(0, 16, 4)]
    patches = torch.stack([image[:, r : r + 4, c : c + 4].flatten() for r, c in corners])
    z = patches @ network.patch_embed.weight.flatten(1).T + network.patch_embed.bias
    z = torch.cat([network.class_token[0], z]) + network.positions.table[0]
    y = F.layer_norm(z, (12,), block.norm1.weight, block.norm1.bias, 1e-6)
    rows, heads = y @ block.attn.qkv.weight.T + block.attn.qkv.bias, []
    for first in (0, 4, 8):
        q, k, v = (rows[:, part + first : part + first + 4] for part in (0, 12, 24))
        heads.append((q @ k.T / math.sqrt(4)).softmax(1) @ v)
    z = z + block.attn.proj(torch.cat(heads, 1))
    y = block.mlp.fc1(F.layer_norm(z, (12,), block.norm2.weight, block.norm2.bias, 1e-6))
    z = z + block.mlp.fc2(y / 2 * (1 + torch.erf(y / math.sqrt(2))))
    expected = network.head(F.layer_norm(z[0], (12,), network.norm.weight, network.norm.bias, 1e-6))
    torch.testing.assert_close(network(image[None])[0], expected)


def test_the_class_token_reads_every_patch():
    """One block is enough, and nothing but the class token is classified."""
    network, x = tiny(depth=1), noise(1, 3, 16, 16).requires_grad_()
    features = network.forward_features(x)
    (gradient,) = torch.autograd.grad(network.forward_head(features).square().sum(), x)
    assert (gradient != 0).all()
    assert network.forward_head(features[:, :1]).equal(network.forward_head(features))


def test_only_the_positions_know_where_a_patch_is():
    network, x = tiny(), noise(1, 3, 16, 16)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))
    shuffled = F.fold(F.unfold(x, 4, stride=4)[..., order], 16, 4, stride=4)
    with torch.no_grad():
        assert (network(shuffled) - network(x)).abs().max() > 1e-3
        network.positions.table.zero_()
        torch.testing.assert_close(network(shuffled), network(x))


@pytest.mark.parametrize("grid", [(6, 3), (8, 8), (1, 1)], ids=str)
def test_positions_of_another_grid_are_interpolated(grid):
    positions = tiny().positions
    first, places = positions.table[:, :1], positions.table[:, 1:]
    assert positions.at((4, 4)) is positions.table
    places = places.transpose(1, 2).unflatten(2, (4, 4))  # (1, C, 4, 4)
    expected = F.interpolate(places, grid, mode="bicubic", antialias=True)
    assert positions.at(grid)[:, :1].equal(first)
    torch.testing.assert_close(positions.at(grid)[:, 1:], expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("size", [(1, 1), (17, 30), (3, 40)], ids=str)
def test_images_that_patches_do_not_fill_end_in_zeros(size):
    network, x = tiny(), noise(2, 3, *size)
    filled = F.pad(x, (0, -size[1] % 4, 0, -size[0] % 4))
    assert network(x).shape == (2, 5) and network(x).equal(network(filled))


def test_both_forms_of_attention():
    network, x = tiny(), noise(2, 3, 20, 12)
    with explicit_attention(network):
        plain = network(x)
    torch.testing.assert_close(network(x), plain)


def test_stochastic_depth_grows_with_depth():
    rates = [m.rate for m in meta("vit_tiny_patch16", drop_path_rate=0.22).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.02 * i for i in range(12)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 5}, r"dim must be a multiple of num_heads=5; got dim=12"),
        ({"image_size": 0}, r"image_size must be greater than 0; got 0"),
        ({"mlp_ratio": -1.0}, r"mlp_ratio must be greater than 0; got -1"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must be at least 0 and below 1; got 1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)
