"""PoolFormer: table and cost, and an average that has nothing to learn and knows where the image ends."""

import math

import pytest
import torch
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import DropPath, LayerScale
from stitchwork.models.poolformer import MODELS, PoolFormer, PoolFormerBlock


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def mixing(dim=4):
    """A block of which only the mixing is left, at full scale and without its normalisation."""
    block = PoolFormerBlock(dim, layer_scale=1.0)
    block.norm1 = nn.Identity()
    for parameter in block.mlp[2].parameters():
        nn.init.zeros_(parameter)
    return block.double().eval()


SMALL, MEDIUM = (64, 128, 320, 512), (96, 192, 384, 768)
# Table 1: blocks, channels, million parameters, G multiply-adds.
TABLE_1 = {
    "poolformer_s12": ((2, 2, 6, 2), SMALL, 11.9, 1.8),
    "poolformer_s24": ((4, 4, 12, 4), SMALL, 21.4, 3.4),
    "poolformer_s36": ((6, 6, 18, 6), SMALL, 30.9, 5.0),
    "poolformer_m36": ((6, 6, 18, 6), MEDIUM, 56.2, 8.8),
    "poolformer_m48": ((8, 8, 24, 8), MEDIUM, 73.5, 11.6),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_table_1(name):
    depths, dims, parameters, multiply_adds = TABLE_1[name]
    network = meta(name)
    assert network.pyramid_channels == dims and tuple(len(stage.blocks) for stage in network.stages) == depths
    assert [stage.enter.stride[0] for stage in network.stages] == [4, 2, 2, 2]
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.06)
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) / 1e9 == pytest.approx(multiply_adds, abs=0.1)


@pytest.mark.parametrize("name", TABLE_1)
def test_cost(name):
    """Two layers of a block have 8 C² weights; two norms and two scales have 6 C numbers, five biases and no mixer."""
    depths, dims, *_ = TABLE_1[name]
    parameters = (3 * 49 + 1) * dims[0] + 2 * dims[-1] + (dims[-1] + 1) * 1000
    multiply_adds = 3 * 49 * dims[0] * 56**2 + dims[-1] * 1000
    for index, (dim, depth) in enumerate(zip(dims, depths)):
        pixels = (56 >> index) ** 2
        parameters += depth * (8 * dim**2 + (5 + 6) * dim)
        multiply_adds += depth * 8 * dim**2 * pixels
        if index:
            parameters += (9 * dims[index - 1] + 1) * dim
            multiply_adds += 9 * dims[index - 1] * dim * pixels
    network = meta(name)
    assert count_parameters(network) == parameters
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) == multiply_adds


def test_what_is_left_of_the_shortcut_is_the_mean():
    """Less the pixel in the branch, plus the pixel beside it: the neighbours that exist, averaged."""
    x = noise(2, 4, 5, 6)
    expected = torch.empty_like(x)
    for row in range(5):
        for column in range(6):
            window = x[:, :, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            expected[:, :, row, column] = window.mean((2, 3))
    torch.testing.assert_close(mixing()(x), expected)


def test_a_flat_image_has_nothing_to_mix():
    """Also at the border, where zeros around the image would pull the mean down."""
    x = torch.full((1, 4, 3, 7), 5.0, dtype=torch.float64)
    torch.testing.assert_close(mixing()(x), x)


def test_normalisation_is_over_the_whole_image():
    """Channels and pixels together: neither a pixel nor a channel has mean zero of its own."""
    y = PoolFormerBlock(4).norm1(3 + 2 * noise(2, 4, 6, 6).float())
    assert y.mean((1, 2, 3)).abs().max() < 1e-5 and (y.var((1, 2, 3), correction=0) - 1).abs().max() < 1e-4
    assert y.mean(1).abs().max() > 0.1 and y.mean((2, 3)).abs().max() > 0.01


def test_blocks_begin_as_almost_the_identity():
    x = noise(1, 4, 6, 6)
    assert 0 < (PoolFormerBlock(4).double()(x) - x).abs().max() < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_deep_ones_begin_closer_to_the_identity(name):
    published = MODELS[name]
    narrow = published.func(published.args[0], (4, 4, 4, 4), **published.keywords)
    starts = torch.stack([m.gamma for m in narrow.modules() if isinstance(m, LayerScale)])
    assert len(starts) == 2 * sum(TABLE_1[name][0])
    assert (starts == (1e-5 if name in ("poolformer_s12", "poolformer_s24") else 1e-6)).all()


@pytest.mark.parametrize("size", [(3, 3), (33, 50)], ids=str)
def test_any_size(size):
    """A stem that pads two pixels, then halvings that round up."""
    network, x = PoolFormer((1, 1, 1, 1), (4, 8, 8, 12), num_classes=5).eval(), torch.randn(1, 3, *size)
    sides = [[math.ceil((side + 1) // 4 / stride) for side in size] for stride in (1, 2, 4, 8)]
    assert [list(m.shape[2:]) for m in network.forward_pyramid(x)] == sides
    with pytest.raises(ValueError, match="PoolFormer needs height and width of at least 3"):
        network(x[..., :2])


def test_pooled_features_are_normalised():
    torch.manual_seed(0)
    pooled = PoolFormer((1, 1, 1, 1), (4, 8, 8, 64), num_classes=0).eval()(1000 * torch.randn(2, 3, 64, 64))
    assert pooled.mean(1).abs().max() < 1e-4 and (pooled.var(1, correction=0) - 1).abs().max() < 0.05


def test_stochastic_depth_grows_with_depth():
    rates = [m.rate for m in meta("poolformer_s12", drop_path_rate=0.22).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.02 * i for i in range(12)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": (2, 0, 6, 2)}, "depths must be greater than 0; got 0"),
        ({"layer_scale": 0.0}, "layer_scale must be greater than 0; got 0"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be at least 0 and below 1; got 1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        PoolFormer(**{"depths": (1, 1, 1, 1), "dims": (4, 4, 4, 4), **arguments})
