import pytest
import torch

from stitchwork.data.tasks import far_pairs


def look_up(x: torch.Tensor, allowed: torch.Tensor | None = None) -> torch.Tensor:
    """The number of the pixel with the opposite mark, among the allowed; scaled like the target."""
    bits, pixels = x.shape[1] - 1, x.shape[2] * x.shape[3]
    marks, values = x[:, :bits].flatten(2), x[:, bits].flatten(1)
    found = marks.mT @ marks == -bits  # (n, pixels, pixels)
    if allowed is not None:
        found &= allowed
    marked = (marks[0, 0] != 0).sum()
    answer = (found.float() @ values[..., None])[..., 0] * (pixels / marked) ** 0.5
    return answer[:, None].unflatten(2, x.shape[2:])


def distances(size: int) -> torch.Tensor:
    """Rows or columns between any two pixels, whichever are more."""
    place = torch.arange(size**2)
    down, right = (place[:, None] // size - place // size).abs(), (place[:, None] % size - place % size).abs()
    return torch.maximum(down, right)


@pytest.mark.parametrize("distance", [1, 4, 7, 13])
@pytest.mark.parametrize("pairs", [1, 4, 7])
def test_one_comparison_of_marks_at_that_distance_solves_it(distance, pairs):
    x, y = far_pairs(20, distance=distance, pairs=pairs, seed=1)
    torch.testing.assert_close(look_up(x, distances(14) == distance), y)


def test_who_looks_less_far_knows_nothing():
    x, _ = far_pairs(50, distance=6, seed=2)
    assert (look_up(x, distances(14) < 6) == 0).all() and (look_up(x, distances(14) > 6) == 0).all()


@pytest.mark.parametrize("size", range(2, 9))
def test_as_many_pairs_as_promised_find_their_places(size):
    for distance in range(1, size):
        x, y = far_pairs(40, distance=distance, pairs=size // 2, size=size, seed=3)
        assert ((x[:, 0] != 0).sum((1, 2)) == size // 2 * 2).all()
        torch.testing.assert_close(look_up(x), y)


def test_a_pixel_says_nothing_about_its_partner():
    x, y = far_pairs(3000, seed=4)
    at = x[:, 0] != 0
    own, wanted = x[:, -1][at], y[:, 0][at]
    assert abs(torch.corrcoef(torch.stack([own, wanted]))[0, 1]) < 0.03
    assert y.square().mean().item() == pytest.approx(1, abs=0.04)
    assert (y[:, 0][~at] == 0).all() and (x.movedim(1, -1)[~at] == 0).all()


def test_all_pixels_have_their_turn():
    x, _ = far_pairs(3000, distance=1, seed=5)
    often = (x[:, 0] != 0).float().mean(0)
    assert often.min() > 0.01 and often[4:10, 4:10].std() < 0.01


def test_the_seed_decides():
    (x, y), (again, same), (other, _) = (far_pairs(5, seed=s) for s in (1, 1, 2))
    assert x.shape == (5, 4, 14, 14) and y.shape == (5, 1, 14, 14)
    assert torch.equal(x, again) and torch.equal(y, same) and not torch.equal(x, other)


@pytest.mark.parametrize(
    ("argument", "value"), [("n", 0), ("size", 1), ("distance", 0), ("distance", 14), ("pairs", 0), ("pairs", 8)]
)
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"far_pairs: {argument}.*{value}"):
        far_pairs(**{"n": 2, argument: value})
