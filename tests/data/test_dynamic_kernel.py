import pytest
import torch
import torch.nn.functional as F

from stitchwork.data.tasks import dynamic_kernel
from stitchwork.data.tasks.dynamic_kernel import NEIGHBOURS

TOLD = ["name", "likeness"]


def around(planes: torch.Tensor) -> torch.Tensor:
    """The eight neighbours of every pixel, (n, C, 8, H, W)."""
    return torch.stack([planes.roll((-i, -j), (2, 3)) for i, j in NEIGHBOURS], 2)


def weights(x: torch.Tensor, values: int, told: str) -> torch.Tensor:
    """The kernel that every pixel asks for, (n, 8, H, W)."""
    code, label = x[:, values : values + 8], x[:, values + 8 :]
    return code if told == "name" else (code[:, :, None] * around(label)).sum(1)


@pytest.mark.parametrize("told", TOLD)
def test_the_pixel_that_is_meant_is_copied(told):
    x, y = dynamic_kernel(3, values=2, size=5, told=told, seed=1)
    chosen = weights(x, 2, told).argmax(1)
    for n in range(3):
        for i in range(5):
            for j in range(5):
                down, right = NEIGHBOURS[chosen[n, i, j]]
                assert torch.equal(y[n, :, i, j], x[n, :2, (i + down) % 5, (j + right) % 5])


@pytest.mark.parametrize("told", TOLD)
def test_a_softmax_of_what_is_told_solves_it(told):
    x, y = dynamic_kernel(200, values=4, size=8, told=told, seed=0)
    kernel = (20 * weights(x, 4, told)).softmax(1)
    answer = (kernel[:, None] * around(x[:, :4])).sum(2)
    assert (answer - y).square().mean().item() < 0.02


def test_the_other_way_to_tell_says_nothing():
    x, y = dynamic_kernel(200, values=4, size=8, told="likeness", seed=0)
    kernel = x[:, 4:12].abs().softmax(1)  # the code, read as if it were a name
    answer = (kernel[:, None] * around(x[:, :4])).sum(2)
    assert (answer - y).square().mean().item() > 7 / 8


@pytest.mark.parametrize("told", TOLD)
def test_no_fixed_kernel_is_better_than_seven_eighths(told):
    x, y = dynamic_kernel(400, values=1, size=8, told=told, seed=0)
    x = F.pad(x, (1, 1, 1, 1), mode="circular")
    columns = F.unfold(x, 3).transpose(1, 2).flatten(0, 1)  # (pixels, 17 * 9)
    target = y.flatten()[:, None]
    kernel = torch.linalg.lstsq(columns, target).solution
    assert (columns @ kernel - target).square().mean().item() == pytest.approx(7 / 8, abs=0.01)
    of_the_values = kernel[:9, 0]
    assert of_the_values[4].abs() < 0.02 and (of_the_values[[0, 1, 2, 3, 5, 6, 7, 8]] - 1 / 8).abs().max() < 0.02


def test_both_ways_to_tell_have_the_same_answers():
    (name, y), (likeness, same) = (dynamic_kernel(4, told=told, seed=5) for told in TOLD)
    assert torch.equal(y, same)
    assert torch.equal(name[:, :8], likeness[:, :8]) and torch.equal(name[:, 16:], likeness[:, 16:])
    assert not torch.equal(name[:, 8:16], likeness[:, 8:16])


@pytest.mark.parametrize("told", TOLD)
def test_shapes_seed_and_the_error_of_knowing_nothing(told):
    (x, y), (again, _), (other, _) = (dynamic_kernel(300, values=3, size=7, told=told, seed=s) for s in (1, 1, 2))
    assert x.shape == (300, 19, 7, 7) and y.shape == (300, 3, 7, 7)
    assert y.square().mean().item() == pytest.approx(1, abs=0.03)
    assert x.square().mean((0, 2, 3)).sub(1).abs().max() < 0.1  # all planes are equally loud
    assert torch.equal(x, again) and not torch.equal(x, other)


def test_every_neighbour_is_asked_for_alike():
    x, _ = dynamic_kernel(500, values=1, size=6, seed=0)
    often = (x[:, 1:9] != 0).float().mean(0)  # (8, 6, 6)
    assert (often - 1 / 8).abs().max() < 0.08


def test_the_callers_generator_is_left_alone():
    before = torch.get_rng_state()
    dynamic_kernel(2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("values", 0), ("size", 2), ("told", "'both'")])
def test_bad_arguments(argument, value):
    given = value if isinstance(value, int) else value.strip("'")
    with pytest.raises(ValueError, match=rf"dynamic_kernel: {argument}.*{value}"):
        dynamic_kernel(**{"n": 2, argument: given})
