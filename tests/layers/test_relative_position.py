import pytest
import torch
from timm.models.swin_transformer import get_relative_position_index
from torch import nn

from stitchwork.layers import RelativePositionBias, offset_index

WINDOWS = [(1, 1), (2, 3), (7, 7), (1, 5), (4, 2)]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_each_pair_has_the_number_of_its_offset(window):
    h, w = window
    bias = RelativePositionBias(window, 3)
    nn.init.normal_(bias.table)
    table = bias.table.view(2 * h - 1, 2 * w - 1, 3)
    y = bias()
    assert y.shape == (3, h * w, h * w)
    for query in range(h * w):
        for key in range(h * w):
            down, right = query // w - key // w, query % w - key % w
            assert torch.equal(y[:, query, key], table[down + h - 1, right + w - 1])


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_index_is_timms_and_every_row_is_used(window):
    index = offset_index(*window)
    assert torch.equal(index, get_relative_position_index(*window))
    assert index.unique().tolist() == list(range((2 * window[0] - 1) * (2 * window[1] - 1)))


def test_it_does_not_say_where_the_window_is():
    """Two pixels and the same two pixels elsewhere: the same bias; the other way round: another."""
    bias = RelativePositionBias((4, 5), 1)
    y = bias()[0].view(4, 5, 4, 5)
    assert torch.equal(y[0, 1, 2, 3], y[1, 2, 3, 4])
    assert y[0, 1, 2, 3] != y[2, 3, 0, 1]


def test_all_pairs_with_an_offset_teach_its_number():
    bias = RelativePositionBias((3, 4), 2)
    bias().sum().backward()
    counts = torch.bincount(offset_index(3, 4).flatten())
    torch.testing.assert_close(bias.table.grad, counts[:, None].expand(-1, 2).float())


def test_the_index_is_no_weight():
    bias = RelativePositionBias((3, 3), 2)
    assert list(bias.state_dict()) == ["table"] and bias.table.shape == (25, 2)
    assert bias.table.abs().max() < 0.2 and bias.table.std() > 0.005
