import pytest
import torch

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters, gradient_support
from stitchwork.models.inception_next import InceptionDepthwise, InceptionNeXt, MetaNeXtBlock


def meta(name="inception_next_tiny", **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


# Table 2: million parameters and billion multiply-adds at 224 pixels.
@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [("inception_next_tiny", 28, 4.2), ("inception_next_small", 49, 8.4), ("inception_next_base", 87, 14.9)],
)
def test_table_2(name, parameters, multiply_adds):
    network = meta(name)
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.5)
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) / 1e9 == pytest.approx(multiply_adds, abs=0.06)


@pytest.mark.parametrize(
    ("name", "dims", "depths", "part", "band"),
    [
        ("inception_next_atto", (40, 80, 160, 320), (2, 2, 6, 2), 10, 9),
        ("inception_next_tiny", (96, 192, 384, 768), (3, 3, 9, 3), 12, 11),
        ("inception_next_small", (96, 192, 384, 768), (3, 3, 27, 3), 12, 11),
        ("inception_next_base", (128, 256, 512, 1024), (3, 3, 27, 3), 16, 11),
    ],
)
def test_stages(name, dims, depths, part, band):
    network = meta(name)
    assert network.pyramid_channels == dims
    assert tuple(len(stage) for stage in network.stages) == depths
    mixer = network.stages[0][0].mixer
    shapes = [tuple(layer.weight.shape) for layer in (mixer.square, mixer.row, mixer.column)]
    assert shapes == [(part, 1, 3, 3), (part, 1, 1, band), (part, 1, band, 1)]
    assert [s[0].expand.out_features // s[0].expand.in_features for s in network.stages] == [4, 4, 4, 3]
    assert network.head.in_features == 3 * dims[-1]


def test_parts_in_their_order():
    """Unfiltered channels first; then the square, the row, the column, each of which looks along its own axes."""
    torch.manual_seed(0)
    mixer, x = InceptionDepthwise(16), torch.randn(2, 16, 20, 24)
    y = mixer(x)
    assert mixer.parts == (10, 2, 2, 2)
    assert y[:, :10].equal(x[:, :10])
    spans = []
    for part in (slice(10, 12), slice(12, 14), slice(14, 16)):
        impulse = torch.zeros(1, 16, 21, 21)
        impulse[:, part, 10, 10] = 1
        response = (mixer(impulse) - mixer(torch.zeros_like(impulse)))[0]
        assert response.abs().sum((1, 2)).nonzero().flatten().tolist() == list(range(16))[part]
        seen = response.abs().sum(0) > 1e-6
        spans.append((int(seen.any(1).sum()), int(seen.any(0).sum())))
    assert spans == [(3, 3), (1, 11), (11, 1)]


def test_gradient_support():
    """A plus of 11 and 11 with a full 3x3 in its middle."""
    support = gradient_support(InceptionDepthwise(16), (1, 16, 21, 21))
    assert int(support.sum()) == 11 + 11 - 1 + 4
    assert support[10].sum() == 11 and support[:, 10].sum() == 11 and support[9:12, 9:12].all()


@pytest.mark.parametrize("dim", [16, 48])
def test_cost_of_a_block(dim):
    cost = count_multiply_adds(MetaNeXtBlock(dim), input_size=(1, dim, 6, 10))
    assert cost == 60 * (dim // 8 * (9 + 11 + 11) + 8 * dim * dim)


def test_block_begins_as_almost_the_identity():
    torch.manual_seed(0)
    x = torch.randn(2, 16, 9, 9)
    assert 0 < (MetaNeXtBlock(16)(x) - x).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"band": 10}, r"band must be odd.*got 10: take 11"),
        ({"branch_ratio": 0.5}, r"branch_ratio must give .* at most a third; got 0.5"),
        ({"branch_ratio": 0.01}, r"branch_ratio must give each part at least one of the 16 channels.*got 0.01"),
        ({"depths": (1, 1, 0, 1)}, r"depths must be greater than 0; got 0"),
        ({"drop_path_rate": -0.1}, r"drop_path_rate must be at least 0 and below 1; got -0.1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        InceptionNeXt(**{"depths": (1, 1, 1, 1), "dims": (16, 16, 16, 16), **arguments})
