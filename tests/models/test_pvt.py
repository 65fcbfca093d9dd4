"""PVT: its tables by hand, and who knows of the class token and of the places."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import attention_maps, count_multiply_adds, count_parameters
from stitchwork.layers import DropPath
from stitchwork.models.pvt import PVT

DIMS, HEADS, MLP_RATIOS, CELLS = (64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4), (8, 4, 2, 1)


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def by_hand(depths):
    """Parameters, and multiply-adds at 224 pixels, of the rows of table 1."""
    parameters = multiply_adds = 0
    for stage, (dim, ratio, cell, depth) in enumerate(zip(DIMS, MLP_RATIOS, CELLS, depths, strict=True)):
        patch, dim_in, pixels = (2, DIMS[stage - 1], (56 >> stage) ** 2) if stage else (4, 3, 56**2)
        tokens = pixels + (stage == 3)  # the class token joins in the last stage
        keys = tokens // cell**2
        parameters += (patch**2 * dim_in + 1) * dim + 2 * dim + tokens * dim  # patches, their norm, positions
        block = 4 * dim**2 + 4 * dim + 2 * ratio * dim**2 + (ratio + 1) * dim + 4 * dim
        cost = (2 + 2 * ratio) * tokens * dim**2 + 2 * keys * dim**2 + 2 * tokens * keys * dim
        if cell > 1:
            block += cell**2 * dim**2 + 3 * dim
            cost += pixels * dim**2
        parameters += depth * block
        multiply_adds += pixels * patch**2 * dim_in * dim + depth * cost
    return parameters + 3 * 512 + 513 * 1000, multiply_adds + 512 * 1000


# Table 1: blocks of each stage; table 2: millions of parameters and billions of multiply-adds.
@pytest.mark.parametrize(
    ("name", "depths", "parameters", "multiply_adds"),
    [
        ("pvt_tiny", (2, 2, 2, 2), 13.2, 1.9),
        ("pvt_small", (3, 4, 6, 3), 24.5, 3.8),
        ("pvt_medium", (3, 4, 18, 3), 44.2, 6.7),
        ("pvt_large", (3, 8, 27, 3), 61.4, 9.8),
    ],
)
def test_tables_1_and_2(name, depths, parameters, multiply_adds):
    network = meta(name)
    counted = count_parameters(network), count_multiply_adds(network, input_size=(1, 3, 224, 224))
    assert counted == by_hand(depths)
    assert counted[0] / 1e6 == pytest.approx(parameters, abs=0.05)
    assert counted[1] / 1e9 == pytest.approx(multiply_adds, abs=0.05)


def test_stages():
    network = meta("pvt_tiny")
    maps = network.forward_pyramid(torch.empty(1, 3, 224, 224, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 56, 56), (128, 28, 28), (320, 14, 14), (512, 7, 7)]
    attentions = [[block.attn for block in stage] for stage in network.stages]
    assert [{a.num_heads for a in stage} for stage in attentions] == [{heads} for heads in HEADS]
    kernels = [{a.reduce.conv.kernel_size[0] for a in stage} for stage in attentions[:3]]
    assert kernels == [{8}, {4}, {2}] and all(isinstance(a.reduce, nn.Identity) for a in attentions[3])


@torch.no_grad()
def test_as_many_keys_in_every_stage():
    """At 224 pixels: 56 / 8 = 28 / 4 = 14 / 2 = 7 cells along each side; in the last stage 49 pixels and the token."""
    maps = attention_maps(PVT((1, 1, 1, 1), num_classes=3), torch.zeros(1, 3, 224, 224))
    pairs = [(56**2, 49), (28**2, 49), (14**2, 49), (50, 50)]
    assert [tuple(m.weights.shape) for m in maps] == [(1, heads, *pair) for heads, pair in zip(HEADS, pairs)]


def test_class_token_joins_in_the_last_stage():
    """The first three maps know nothing of it; the last does, and so do its pixels."""
    torch.manual_seed(0)
    network = PVT((1, 1, 1, 1), num_classes=3)
    assert [p.table.shape[1] for p in network.positions] == [56**2, 28**2, 14**2, 7**2 + 1]
    maps, tokens = network.forward_stages(torch.randn(1, 3, 64, 96))
    assert tokens.shape == (1, 1 + 2 * 3, 512)
    assert torch.equal(maps[3].flatten(2).mT, tokens[:, 1:])
    # Squared, for tokens that all move alike would cancel in a plain sum.
    gradients = [
        torch.autograd.grad(m.square().sum(), network.class_token, retain_graph=True, allow_unused=True)[0]
        for m in maps
    ]
    assert gradients[:3] == [None] * 3 and gradients[3].any()


@torch.no_grad()
def test_other_sizes():
    """Images are filled up with zeros to whole patches, and positions are interpolated between the learned ones."""
    torch.manual_seed(0)
    network, x = PVT((1, 1, 1, 1), num_classes=3).eval(), torch.randn(1, 3, 45, 70)
    torch.testing.assert_close(network(x), network(F.pad(x, (0, 2, 0, 3))))
    positions = network.positions[2]  # 14 x 14
    coarse = positions.at((7, 14)).unflatten(1, (7, 14))
    torch.testing.assert_close(coarse, positions.table.unflatten(1, (7, 2, 14)).mean(2))


def test_stochastic_depth_grows_over_all_stages():
    rates = [m.rate for m in meta("pvt_tiny", drop_path_rate=0.07).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.01 * i for i in range(8)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"depths": (1, 0, 1, 1)}, "depths .* got 0"), ({"image_size": 0}, "image_size .* got 0")],
    ids=str,
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=f"PVT: {message}"):
        PVT(**{"depths": (1, 1, 1, 1), **arguments})
