"""Where is the answer written: beside a like pixel, at a fixed place, or in no image?"""

import pytest
import torch
import torch.nn.functional as F

from stitchwork.data.tasks import associative_recall, prototypes, prototypes_posterior, upside_down

TASKS = [associative_recall, upside_down, prototypes]


@pytest.mark.parametrize("task", TASKS)
def test_the_seed_decides_and_the_callers_generator_is_left_alone(task):
    before = torch.get_rng_state()
    (x, y), (again, _), (other, _) = task(4, seed=1), task(4, seed=1), task(4, seed=2)
    assert torch.equal(x, again) and not torch.equal(x, other) and len(y) == 4
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("task", TASKS)
def test_the_error_of_knowing_nothing_is_one(task):
    _, y = task(3000, seed=0)
    assert y.square().mean((0, 2, 3)) == pytest.approx(torch.ones(y.shape[1]), abs=0.06)
    assert y.mean().abs() < 0.02


@pytest.mark.parametrize(
    ("task", "argument", "value"),
    [(task, name, 0) for task in TASKS for name in ("n", "size")]
    + [(associative_recall, name, 0) for name in ("pairs", "dim", "values")]
    + [(associative_recall, "pairs", 64), (prototypes, "count", 7), (prototypes, "dim", 0), (prototypes, "noise", -1)],
)
def test_bad_arguments(task, argument, value):
    with pytest.raises(ValueError, match=rf"{task.__name__}: {argument}.*{value}"):
        task(**{"n": 2, argument: value})


# --- associative recall


def test_comparing_with_those_who_hold_values_recalls_them():
    x, y = associative_recall(40, pairs=5, dim=6, values=3, size=7, seed=3)
    assert x.shape == (40, 6 + 3 + 1, 7, 7) and y.shape == (40, 3, 7, 7)
    keys, values, told = x.flatten(2).split([6, 3, 1], 1)
    assert torch.equal(told.sum(2), torch.full((40, 1), 5.0))
    assert torch.equal(values * (1 - told), torch.zeros_like(values))
    likeness = (keys.mT @ keys).masked_fill(told == 0, -torch.inf)  # with those alone
    found = values.take_along_dim(likeness.argmax(2)[:, None], 2)
    assert torch.allclose((49 / 44) ** 0.5 * found * (1 - told), y.flatten(2))


def test_sums_of_products_recall_as_well_as_the_docstring_says():
    pairs, dim = 4, 8
    x, y = associative_recall(4000, pairs=pairs, dim=dim, seed=0)
    keys, values, told = x.flatten(2).split([dim, 8, 1], 1)
    found = (values @ keys.mT) @ keys * (1 - told)  # K^T V is dim x values numbers an image
    y = y.flatten(2)
    best = (found * y).sum() / found.square().sum()
    assert (best * found - y).square().mean().item() == pytest.approx((pairs - 1) / (dim + pairs - 1), abs=0.01)


def test_a_pixel_by_itself_and_a_place_by_itself_know_nothing_of_the_values():
    x, y = associative_recall(4000, seed=0)
    told = x[:, -1:]
    assert (y * told).abs().max() == 0
    own = torch.einsum("nchw,nvhw->cv", x, y) / x[:, 0].numel()
    assert own.abs().max() < 0.02
    assert (told.mean(0) - 4 / 64).abs().max() < 0.02  # any place holds values equally often


# --- upside down


@pytest.mark.parametrize("size", [1, 7, 8])
def test_turning_the_rows_round_is_the_answer(size):
    x, y = upside_down(5, size=size, seed=0)
    assert torch.equal(y[:, :, 0], x[:, :, -1]) and torch.equal(y.flip(2), x)


def test_looking_the_same_way_from_everywhere_is_right_in_two_rows_at_best():
    x, y = upside_down(4000, size=8, seed=0)
    alike = [(x.roll((i, j), (2, 3)) * y).mean().item() for i in range(8) for j in range(8)]
    assert max(alike) == pytest.approx(2 / 8, abs=0.02)


# --- prototypes


def test_without_noise_the_nearest_prototype_knows():
    x, y = prototypes(20, noise=0.0, seed=0)
    assert torch.allclose(prototypes_posterior(x, noise=0.1), y, atol=1e-4)
    assert len(x.movedim(1, 3).reshape(-1, 8).unique(dim=0)) == 16


def test_no_linear_map_knows_and_the_posterior_is_best():
    x, y = prototypes(400, seed=0)
    pixels, answer = x.movedim(1, 3).reshape(-1, 8), y.flatten()
    pixels = torch.cat([pixels, torch.ones(len(pixels), 1)], 1)
    linear = pixels @ torch.linalg.lstsq(pixels, answer[:, None]).solution
    assert F.mse_loss(linear[:, 0], answer) > 0.7
    errors = [F.mse_loss(prototypes_posterior(x, noise=noise), y).item() for noise in (0.3, 0.5, 0.8)]
    assert errors[1] == min(errors) and errors[1] < 0.05


def test_the_prototypes_have_their_own_seed():
    (one, _), (other, _) = (prototypes(2, noise=0.0, prototype_seed=s) for s in (0, 1))
    assert not torch.allclose(one, other)
    (one, _), (two, _) = (prototypes(300, noise=0.0, seed=s) for s in (0, 1))
    known = {tuple(p) for p in one.movedim(1, 3).reshape(-1, 8).tolist()}
    assert known == {tuple(p) for p in two.movedim(1, 3).reshape(-1, 8).tolist()}
