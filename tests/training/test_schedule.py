import pytest
import torch

from stitchwork.training.schedule import SCHEDULES, learning_rate


def test_is_pytorchs_warmup_and_cosine():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    rise = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / 20, total_iters=19)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 80)
    both = torch.optim.lr_scheduler.SequentialLR(optimiser, [rise, fall], [20])
    for step in range(100):
        assert learning_rate(step, 100, 0.3, 0.2) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-9), step
        optimiser.step()
        both.step()


def test_poly_is_pytorchs_polynomial():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimiser, 80, power=0.9)
    for step in range(80):
        expected = optimiser.param_groups[0]["lr"]
        assert learning_rate(step, 80, 0.3, 0.0, "poly") == pytest.approx(expected, abs=1e-9), step
        assert learning_rate(20 + step, 100, 0.3, 0.2, "poly") == pytest.approx(expected, abs=1e-9), step
        optimiser.step()
        scheduler.step()
    assert learning_rate(9, 100, 0.3, 0.2, "poly") == pytest.approx(0.15), "the rise is the same"


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 1.0), (7, 0.0), (7, 1.0), (7, 0.5), (3, 0.1)])
def test_never_zero_and_never_above_the_peak(steps, warmup, schedule):
    rates = [learning_rate(step, steps, 2.0, warmup, schedule) for step in range(steps)]
    assert all(0 < rate <= 2.0 for rate in rates)
    assert max(rates) == 2.0
