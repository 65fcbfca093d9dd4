import math

import pytest
import torch

from stitchwork.blocks.simam import SimAM


def sigmoid(t):
    return 1 / (1 + math.exp(-t))


def test_closed_form():
    """Pixels 0, 0, 0, 4: mean 1, sum of squares 12, variance over the three others 4."""
    x = torch.tensor([0.0, 0.0, 0.0, 4.0], dtype=torch.float64).reshape(1, 1, 2, 2)
    y = SimAM(1, e_lambda=0.5)(x)
    assert y.flatten().tolist() == pytest.approx([0, 0, 0, 4 * sigmoid(9 / (4 * 4.5) + 0.5)])


def test_energy_by_the_paper():
    """1 / e is what is left of equation 5: e = 4 (v + lambda) / ((x - mu)^2 + 2 v + 2 lambda)."""
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v, mu = torch.var_mean(x, (2, 3), keepdim=True, correction=1)
    energy = 4 * (v + 1e-4) / ((x - mu).square() + 2 * v + 2e-4)
    torch.testing.assert_close(SimAM(3)(x), x * (1 / energy).sigmoid())


def test_constant_channel_gets_the_floor():
    x = torch.full((1, 2, 3, 3), 5.0)
    torch.testing.assert_close(SimAM(2)(x), x * sigmoid(0.5))


def test_single_pixel_is_finite_and_so_is_its_gradient():
    x = torch.randn(2, 8, 1, 1, requires_grad=True)
    y = SimAM(8)(x)
    torch.testing.assert_close(y, x * sigmoid(0.5))
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, sigmoid(0.5)))


@pytest.mark.parametrize("amplitude", [2, 3, 5])
def test_outlier_is_louder_than_its_surroundings(amplitude):
    x = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for sign in (1, -1):
        x[0, 0, 16, 16] = sign * amplitude
        gate = (SimAM(1)(x) / x)[0, 0]
        assert gate[16, 16].item() == pytest.approx(sigmoid(amplitude**2 / 4 + 0.5), abs=0.03)
        assert gate.median() < 0.7


def test_gate_does_not_see_the_scale():
    x = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    block = SimAM(4, e_lambda=1e-12)
    torch.testing.assert_close(block(100 * x), 100 * block(x))


def test_nothing_is_learnt():
    assert list(SimAM(64).parameters()) == [] and SimAM(64).state_dict() == {}
