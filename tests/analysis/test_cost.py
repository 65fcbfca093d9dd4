"""Counts against arithmetic done by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.analysis import cost_table, count_multiply_adds, count_parameters

CONV = 8 * 16 * 16 * 3 * 9  # outputs times taps: 3 to 8 channels, 3x3, on a map of 16x16


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, 8, 3, stride=2, padding=1)


class SelfAttention(nn.Module):
    def __init__(self, dim: int = 64, heads: int = 4):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class FunctionalAttention(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x)


def test_parameters_of_a_convolution():
    assert count_parameters(conv()) == 8 * 3 * 9 + 8


def test_a_shared_parameter_counts_once_and_buffers_do_not_count():
    linear = nn.Linear(4, 4)
    assert count_parameters(nn.Sequential(linear, linear, nn.BatchNorm1d(4))) == 4 * 4 + 4 + 2 * 4


def test_multiply_adds_of_convolutions_and_linear_layers():
    net = nn.Sequential(
        conv(), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Flatten(), nn.Linear(2048, 10)
    )
    assert count_multiply_adds(net, torch.zeros(1, 3, 32, 32)) == CONV + 8 * 16 * 16 * 9 + 2048 * 10
    assert count_multiply_adds(net, input_size=(2, 3, 32, 32)) == 2 * (CONV + 8 * 16 * 16 * 9 + 2048 * 10)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_counts_in_its_plain_form(device):
    n, dim = 10, 64
    attention = n * dim * 3 * dim + 2 * n * n * dim + n * dim * dim  # qkv, then q k and attention v, then out
    mlp = 2 * n * dim * 96
    layer = nn.TransformerEncoderLayer(dim, 4, 96, batch_first=True).to(device)
    assert count_multiply_adds(SelfAttention().to(device), input_size=(1, n, dim)) == attention
    assert count_multiply_adds(layer, input_size=(1, n, dim)) == attention + mlp
    assert count_multiply_adds(FunctionalAttention(), torch.zeros(1, 4, n, 16, device=device)) == 2 * 4 * n * n * 16


def test_the_meta_device_needs_no_memory():
    with torch.device("meta"):
        huge = nn.Linear(10**6, 10**6)  # 4 TB
    assert count_multiply_adds(huge, input_size=(1, 10**6)) == 10**12


def test_input_size_makes_the_type_of_the_module():
    assert count_multiply_adds(conv().double(), input_size=(1, 3, 32, 32)) == CONV


def test_counting_leaves_modes_and_statistics_alone():
    net = nn.Sequential(conv(), nn.BatchNorm2d(8), nn.Dropout(), nn.BatchNorm2d(8))
    net.train()
    net[3].eval()
    torch.backends.mha.set_fastpath_enabled(True)
    count_multiply_adds(net, torch.randn(2, 3, 32, 32))
    assert [part.training for part in net.modules()] == [True, True, True, True, False]
    assert net[1].num_batches_tracked == 0
    assert torch.backends.mha.get_fastpath_enabled()


def test_modes_are_restored_after_an_error():
    net = nn.Sequential(conv()).train()
    with pytest.raises(RuntimeError):
        count_multiply_adds(net, torch.zeros(1, 4, 32, 32))
    assert net.training and net[0].training


def test_inputs_or_input_size_but_not_both_and_not_none():
    with pytest.raises(ValueError, match="either inputs or input_size; got none"):
        count_multiply_adds(conv())
    with pytest.raises(ValueError, match="either inputs or input_size; got both"):
        count_multiply_adds(conv(), torch.zeros(1, 3, 8, 8), input_size=(1, 3, 8, 8))


def test_cost_table():
    table = cost_table({"convolution": conv(), "nothing": nn.Identity()}, (1, 3, 32, 32))
    assert list(table.index) == ["convolution", "nothing"]
    assert list(table.columns) == ["parameters", "multiply_adds"]
    assert table.loc["convolution"].tolist() == [224, CONV]
    assert table.loc["nothing"].tolist() == [0, 0]
    assert table.dtypes.map(str).tolist() == ["int64", "int64"]


def test_cost_table_of_nothing():
    with pytest.raises(ValueError, match="at least one module"):
        cost_table({}, (1, 3, 32, 32))
