import torch
from torch import nn

from stitchwork.layers import Pooling


def test_it_is_the_mean_of_the_pixels_that_exist_less_the_pixel():
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    y = Pooling(3)(x)
    for row in range(5):
        for column in range(4):
            around = x[:, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            expected = around.mean((2, 3)) - x[:, :, row, column]
            torch.testing.assert_close(y[:, :, row, column], expected)


def test_where_all_is_equal_there_is_nothing_to_mix():
    assert Pooling(1)(torch.full((1, 1, 3, 6), 7.0)).abs().max() < 1e-6


def test_it_has_no_weight():
    assert isinstance(Pooling(4), nn.Module) and not list(Pooling(4).parameters())
