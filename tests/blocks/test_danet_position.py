import pytest
import torch

from stitchwork.analysis import measure_peak_memory
from stitchwork.blocks.danet_position import PositionAttention


def with_unit_projections(dim):
    """Query, key and value are the pixel itself, the gain is one."""
    block = PositionAttention(dim, reduction=1).double()
    for layer in (block.query, block.key, block.value):
        layer.weight.data.copy_(torch.eye(dim))
        layer.bias.data.zero_()
    block.gamma.data.fill_(1)
    return block


def test_closed_form():
    """Two pixels, worked out by hand; the products are not divided by the root of two."""
    a, b = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 2.0]).double()
    x = torch.stack([a, b], 1).reshape(1, 2, 1, 2)
    y = with_unit_projections(2)(x)
    weights = torch.tensor([[1.0, 0.0], [0.0, 4.0]]).double().softmax(1)  # a·a, a·b; b·a, b·b
    torch.testing.assert_close(y[0, :, 0, 0], a + weights[0, 0] * a + weights[0, 1] * b)
    torch.testing.assert_close(y[0, :, 0, 1], b + weights[1, 0] * a + weights[1, 1] * b)


def test_distance_does_not_matter():
    """A pixel with the same content gets the same result wherever it is."""
    torch.manual_seed(0)
    x = torch.randn(1, 2, 5, 7).double()
    x[..., 4, 6] = x[..., 0, 0]
    y = with_unit_projections(2)(x)
    torch.testing.assert_close(y[..., 4, 6], y[..., 0, 0])


def test_starts_as_identity():
    x = torch.randn(2, 16, 5, 6)
    assert torch.equal(PositionAttention(16)(x), x)


@pytest.mark.parametrize(("dim", "reduction", "width"), [(64, 8, 8), (67, 8, 8), (64, 1, 64), (4, 8, 1)])
def test_parameters(dim, reduction, width):
    expected = 2 * (dim * width + width) + dim * dim + dim + 1
    assert sum(p.numel() for p in PositionAttention(dim, reduction).parameters()) == expected


def test_the_map_of_all_pairs_is_never_stored():
    """It alone would take 4096 x 4096 numbers."""
    assert measure_peak_memory(PositionAttention(64).eval(), torch.randn(1, 64, 64, 64)) < 0.25 * 4 * 4096**2
