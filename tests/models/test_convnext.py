import pytest
import torch

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters, theoretical_receptive_field
from stitchwork.layers import DropPath, LayerNorm2d
from stitchwork.models.convnext import ConvNeXtBlock


def meta(name="convnext_tiny", **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


# Table 1: million parameters and billion multiply-adds at 224 pixels (XL, in the table of ImageNet-22K: at 384).
@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("convnext_tiny", 29, 4.5),
        ("convnext_small", 50, 8.7),
        ("convnext_base", 89, 15.4),
        ("convnext_large", 198, 34.4),
    ],
)
def test_table_1(name, parameters, multiply_adds):
    network = meta(name)
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.5)
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) / 1e9 == pytest.approx(multiply_adds, abs=0.06)


def test_xlarge_at_384_pixels():
    network = meta("convnext_xlarge")
    assert count_parameters(network) / 1e6 == pytest.approx(350, abs=0.5)
    assert count_multiply_adds(network, input_size=(1, 3, 384, 384)) / 1e9 == pytest.approx(179, abs=0.06)


# Section 3: channels and blocks of the stages.
@pytest.mark.parametrize(
    ("name", "dims", "depths"),
    [
        ("convnext_tiny", (96, 192, 384, 768), (3, 3, 9, 3)),
        ("convnext_small", (96, 192, 384, 768), (3, 3, 27, 3)),
        ("convnext_base", (128, 256, 512, 1024), (3, 3, 27, 3)),
        ("convnext_large", (192, 384, 768, 1536), (3, 3, 27, 3)),
        ("convnext_xlarge", (256, 512, 1024, 2048), (3, 3, 27, 3)),
    ],
)
def test_stages(name, dims, depths):
    network = meta(name)
    assert network.pyramid_channels == dims
    assert tuple(len(stage) for stage in network.stages) == depths
    assert [tuple(stage[0].depthwise.weight.shape) for stage in network.stages] == [(c, 1, 7, 7) for c in dims]


@pytest.mark.parametrize("dim", [8, 24])
def test_cost_of_a_block(dim):
    """H · W · C (49 + 8C) multiply-adds; the weights are as many, with a bias a layer, the norm's two and gamma."""
    block = ConvNeXtBlock(dim)
    assert count_multiply_adds(block, input_size=(1, dim, 6, 10)) == 60 * dim * (49 + 8 * dim)
    assert count_parameters(block) == dim * (49 + 8 * dim) + dim * (1 + 4 + 1) + 2 * dim + dim


def test_block_begins_as_almost_the_identity():
    torch.manual_seed(0)
    x = torch.randn(2, 16, 9, 9)
    y = ConvNeXtBlock(16)(x)
    assert 0 < (y - x).abs().max() < 1e-5
    assert (ConvNeXtBlock(16, layer_scale=1.0)(x) - x).abs().max() > 1e-2


def test_block_mixes_channels_only_behind_the_depthwise_convolution():
    """Of another pixel a channel sees only itself in the filter, but all of the channels at its end."""
    torch.manual_seed(0)
    block = ConvNeXtBlock(8, layer_scale=1.0).double()
    x = torch.randn(1, 8, 15, 15, dtype=torch.float64, requires_grad=True)
    (filtered,) = torch.autograd.grad(block.depthwise(x)[0, 3, 7, 7], x)
    assert filtered[0].abs().amax((1, 2)).nonzero().flatten().tolist() == [3]
    (whole,) = torch.autograd.grad(block(x)[0, 3, 7, 7], x)
    seen = whole[0].abs().sum(0) > 0
    assert seen.sum() == 49 and seen[4:11, 4:11].all() and (whole[0, :, 4, 4] != 0).all()


def test_every_normalisation_is_over_the_channels_of_a_pixel():
    network = create_model("convnext_tiny", num_classes=2)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 1 + 18 + 3 + 1 and all(m.eps == 1e-6 and len(m.normalized_shape) == 1 for m in norms)
    norm, x = LayerNorm2d(12), 3 + 2 * torch.randn(2, 12, 5, 7)
    y = norm(x)
    assert y.mean(1).abs().max() < 1e-5 and (y.var(1, correction=0) - 1).abs().max() < 1e-4
    assert (y.mean((2, 3)).abs() > 1e-2).any()


def test_pooled_features_are_normalised():
    torch.manual_seed(0)
    pooled = create_model("convnext_tiny", num_classes=0).eval()(torch.randn(2, 3, 64, 64))
    assert pooled.mean(1).abs().max() < 1e-5 and (pooled.var(1, correction=0) - 1).abs().max() < 1e-3


def test_stochastic_depth_grows_with_depth():
    rates = [m.rate for m in meta(drop_path_rate=0.17).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.01 * i for i in range(18)])
    assert not any(m.rate for m in meta().modules() if isinstance(m, DropPath))


def test_what_is_left_over_is_not_looked_at():
    torch.manual_seed(0)
    network, x = create_model("convnext_tiny", num_classes=3).eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wider = torch.cat([x, torch.randn(1, 3, 64, 31)], 3)
        assert network.stem(wider[..., :67]).equal(network.stem(x))
        assert [tuple(m.shape[2:]) for m in network.forward_pyramid(wider)] == [(16, 23), (8, 11), (4, 5), (2, 2)]


def test_theoretical_receptive_field():
    """Stem, 3 + 3 + 9 + 3 kernels of 7, and a 2x2 before the later stages: wider than the image it is trained on."""
    layers = [(4, 4), *[(7, 1)] * 3, (2, 2), *[(7, 1)] * 3, (2, 2), *[(7, 1)] * 9, (2, 2), *[(7, 1)] * 3]
    assert theoretical_receptive_field(layers) == 4 + 18 * 4 + 4 + 18 * 8 + 8 + 54 * 16 + 16 + 18 * 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": (3, 0, 9, 3)}, r"depths must be greater than 0; got 0"),
        ({"dims": (96, -1, 8, 8)}, r"dims must be greater than 0; got -1"),
        ({"layer_scale": 0.0}, r"layer_scale must be greater than 0; got 0"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must be at least 0 and below 1; got 1"),
    ],
)
def test_refusals(arguments, message):
    from stitchwork.models.convnext import ConvNeXt

    with pytest.raises(ValueError, match=message):
        ConvNeXt(**{"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8), **arguments})
