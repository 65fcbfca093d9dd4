import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import Mlp


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(("act", "function"), [(None, F.gelu), (nn.ReLU, F.relu), (nn.SiLU, F.silu)])
@pytest.mark.parametrize("shape", [(6,), (2, 5, 6), (2, 3, 5, 6)])
def test_formula(act, function, shape):
    """Two matrices with biases and the activation between them; the exact GELU, if nothing is said."""
    mlp = (Mlp(6, 9) if act is None else Mlp(6, 9, act)).double()
    x = 3 * torch.randn(shape, dtype=torch.double)
    hidden = function(x @ mlp.fc1.weight.T + mlp.fc1.bias)
    torch.testing.assert_close(mlp(x), hidden @ mlp.fc2.weight.T + mlp.fc2.bias)


def test_every_token_for_itself():
    mlp, x = Mlp(6, 9), torch.randn(1, 5, 6)
    other = x.clone()
    other[0, 2] += 1
    assert (mlp(other) != mlp(x)).any(2).tolist() == [[False, False, True, False, False]]


@pytest.mark.parametrize(("dim", "hidden"), [(6, 9), (8, 32), (5, 1)])
def test_cost(dim, hidden):
    mlp = Mlp(dim, hidden)
    assert count_parameters(mlp) == 2 * dim * hidden + hidden + dim
    assert count_multiply_adds(mlp, torch.randn(1, 7, dim)) == 2 * 7 * dim * hidden


def test_one_activation_for_each():
    """An activation with parameters would otherwise be shared by all blocks."""
    first, second = Mlp(4, 4, nn.PReLU), Mlp(4, 4, nn.PReLU)
    assert first.act.weight is not second.act.weight
