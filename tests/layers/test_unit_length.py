import pytest
import torch
import torch.nn.functional as F

from stitchwork.layers import unit_length


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_equals_normalize(dim):
    x = 100 * torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit_length(x, dim), F.normalize(x, dim=dim))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_zero_stays_zero(dtype):
    x = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    y = unit_length(x, 1)
    y.sum().backward()
    assert (y == 0).all() and x.grad.isfinite().all()


def test_short_vectors_are_not_blown_up():
    x = torch.tensor([[3e-7, 4e-7]])  # half of 1e-6 long
    torch.testing.assert_close(unit_length(x, 1), torch.tensor([[0.3, 0.4]]))
