"""Disks of unknown radius: an area is the answer, as long as there is one disk, and a small window is not enough."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from stitchwork.data.tasks import disk_radius, disk_radius_floor

RADII = (2, 3, 4, 5, 6, 7)


def areas() -> torch.Tensor:
    """Pixels within r + 1/2 of the middle, for each radius."""
    offset = torch.arange(-8, 9)
    return torch.tensor([(offset[:, None] ** 2 + offset**2 <= (r + 0.5) ** 2).sum() for r in RADII])


def answers() -> torch.Tensor:
    """What a disk of each radius must say, from the definition: no mean over the disks' pixels, mean square 1."""
    r, a = torch.tensor(RADII, dtype=torch.float64), areas()
    centred = r - (a * r).sum() / a.sum()
    return centred / ((a * centred**2).sum() / (6 * 16**2)).sqrt()


def test_the_seed_decides_the_samples():
    before = torch.get_rng_state()
    one, same, other = disk_radius(4, seed=1), disk_radius(4, seed=1), disk_radius(4, seed=2)
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1]) and not torch.equal(one[0], other[0])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("disks", [1, 3])
def test_the_error_of_knowing_no_radius_is_one(disks):
    x, y = disk_radius(3000, disks=disks, seed=0)
    assert x.shape == y.shape == (3000, 1, 16, 16 * disks)
    assert y.square().mean().item() == pytest.approx(1, abs=0.05)
    inside = y != 0  # no radius has the answer 0
    assert y[inside].mean().abs() < 0.06  # and that is the best constant for a pixel of a disk
    often = inside.double().mean((0, 1))
    assert (often - areas().double().mean() / 256).abs().max() < 0.05  # every pixel alike


def test_the_disks_are_whole_and_say_their_radius():
    x, y = disk_radius(40, disks=2, noise=0, seed=3)
    assert set(x.unique().tolist()) == {0, 1} and torch.equal(x != 0, y != 0)
    known = dict(zip(areas().tolist(), answers().tolist()))
    for image in y:
        values, counts = image[image != 0].unique(return_counts=True)
        # Two disks of one radius, or one of each: never an overlap, never a piece.
        sizes = [count // 2 if len(counts) == 1 else count for count in counts.tolist()]
        assert values.tolist() == pytest.approx([known[size] for size in sizes])


def nearest_area(x: torch.Tensor) -> torch.Tensor:
    """The answers of whoever knows only the mean over the image, and which pixels belong to a disk."""
    total = x.sum((1, 2, 3)) / (x.shape[3] // 16)
    which = (total[:, None] - areas()).abs().argmin(1)
    return answers().float()[which][:, None, None, None]


def test_the_mean_over_the_image_solves_it_with_one_disk_and_not_with_four():
    errors = []
    for disks in (1, 4):
        x, y = disk_radius(1000, disks=disks, seed=5)
        errors.append(F.mse_loss(nearest_area(x) * (y != 0), y).item())
    assert errors[0] < 0.05
    assert errors[1] > 0.6


def test_a_large_enough_window_solves_it_however_many_disks_there_are():
    """Without noise: the distance to the nearest pixel outside, and the largest such distance around, is the radius."""
    for disks in (1, 4):
        x, y = disk_radius(50, disks=disks, noise=0, seed=6)
        x = F.pad(x, (16, 16, 16, 16), mode="circular")
        found = torch.zeros_like(x)
        for r, answer in zip(RADII, answers().tolist()):  # the larger ones last
            offset = torch.arange(-r, r + 1)
            kernel = (offset[:, None] ** 2 + offset**2 <= (r + 0.5) ** 2).float()[None, None]
            fits = (F.conv2d(x, kernel, padding=r) == kernel.sum()).float()  # a disk of radius r around here is full
            covered = F.conv2d(fits, kernel, padding=r) > 0
            found[covered] = answer
        assert torch.allclose(found[..., 16:-16, 16:-16], y, atol=1e-5)


@pytest.mark.parametrize(
    ("argument", "value"), [("n", 0), ("size", 14), ("disks", 0), ("radii", (3, 3)), ("radii", (0, 1)), ("noise", -1)]
)
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"disk_radius: {argument} must.*got"):
        disk_radius(**{"n": 2, argument: value})


def test_the_floor_falls_with_the_window():
    floors = [disk_radius_floor(window) for window in range(1, 17, 2)]
    assert floors[0] == pytest.approx(1, abs=0.01)  # a pixel alone knows nothing of the radius
    assert all(a > b for a, b in pairwise(floors))
    assert floors[2] > 0.45 and floors[-1] < 0.02


def test_the_floor_is_what_the_best_window_reaches():
    """With hardly any noise: look every window up in a table of all that were seen, and answer their mean."""
    windows = []
    for seed in (1, 2):
        x, y = disk_radius(600, noise=0, seed=seed)
        codes = F.conv2d(
            F.pad(x.double(), (2,) * 4, mode="circular"), 2.0 ** torch.arange(25.0).view(1, 1, 5, 5).double()
        )
        windows.append((codes.flatten(), y.flatten().double()))
    (codes, y), (new_codes, new_y) = windows
    known, index = codes.unique(return_inverse=True)
    means = torch.zeros(len(known), dtype=torch.float64).scatter_reduce(0, index, y, "mean", include_self=False)
    at = torch.searchsorted(known, new_codes).clamp_max(len(known) - 1)
    assert (known[at] == new_codes).double().mean() > 0.999
    assert F.mse_loss(means[at], new_y).item() == pytest.approx(disk_radius_floor(5, noise=0.02), abs=0.02)


@pytest.mark.parametrize(("argument", "value"), [("window", 4), ("window", 17), ("noise", 0)])
def test_bad_arguments_of_the_floor(argument, value):
    with pytest.raises(ValueError, match=rf"{argument} must.*got {value}"):
        disk_radius_floor(**{"window": 3, argument: value})
