import pytest
import torch

from stitchwork.data.tasks import wallpaper

PERIODS = torch.tensor([4, 6, 8, 12])


def agreement(x, distance):
    """Mean product of each cell and the one ``distance`` to its right: 1 if they are equal, 0 if independent."""
    return (x[..., distance:] * x[..., : x.shape[3] - distance]).mean((1, 2, 3))


def test_rows_repeat_themselves_after_the_period():
    x, y = wallpaper(50, seed=0)
    assert x.shape == (50, 1, 24, 24) and y.shape == (50,) and set(y.tolist()) == {0, 1, 2, 3}
    for image, period in zip(x[:, 0], PERIODS[y].tolist()):
        assert image[:, period:].equal(image[:, :-period])
        assert not image[:, period - 1 :].equal(image[:, : 1 - period])
        assert not image[period:].equal(image[:-period])  # the columns do not


def test_two_cells_that_are_far_enough_apart_decide():
    """The shortest distance at which the cells agree is the period."""
    x, y = wallpaper(500, seed=1)
    agrees = torch.stack([agreement(x, d) for d in PERIODS.tolist()], 1) > 0.6
    assert agrees.float().argmax(1).equal(y)


@pytest.mark.parametrize("distance", [1, 2, 3, 5, 7])
def test_closer_cells_say_nothing(distance):
    """Below the period there is no agreement to be seen, and the noise of each class is the same."""
    x, y = wallpaper(4000, seed=2)
    for index, period in enumerate(PERIODS.tolist()):
        images = x[y == index]
        if period > distance:
            assert agreement(images, distance).mean().abs() < 0.02
        assert images.mean().abs() < 0.02 and abs(images.var() - 1) < 0.03


def test_scale_makes_the_cells_larger():
    cells, y = wallpaper(3, size=14, seed=4)
    x, same = wallpaper(3, size=14, scale=3, seed=4)
    assert x.shape == (3, 1, 42, 42) and y.equal(same)
    assert x[:, :, 1::3, 2::3].equal(cells) and x[:, :, ::3, ::3].equal(cells)


def test_the_seed_decides_the_samples_and_the_callers_generator_is_left_alone():
    before = torch.get_rng_state()
    one, same, other = wallpaper(4, seed=1), wallpaper(4, seed=1), wallpaper(4, seed=2)
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1]) and not torch.equal(one[0], other[0])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("argument", "value"), [("n", 0), ("size", 12), ("scale", 0), ("periods", (4,)), ("periods", (6, 4))]
)
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"wallpaper: {argument}.*got"):
        wallpaper(**{"n": 2, argument: value})
