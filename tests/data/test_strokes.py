import pytest
import torch
import torch.nn.functional as F

from stitchwork.data.tasks import strokes


def iou(found, y):
    return sum(((found == k) & (y == k)).sum() / ((found == k) | (y == k)).sum() for k in (1, 2)).item() / 2


def spot(x):
    """The colour where it is strongest over five by five pixels: 1 or 2."""
    smooth = F.avg_pool2d(x[:, 1:], 5, 1, 2).flatten(1)
    return (smooth.gather(1, smooth.abs().argmax(1, keepdim=True)) > 0).long()[..., None] + 1


def test_who_sees_the_spot_knows_the_kind():
    x, y = strokes(200, told="afar", seed=1)
    assert iou(torch.where(y > 0, spot(x), 0), y) == 1


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_who_does_not_see_it_has_at_most_a_third(share):
    _, y = strokes(2000, told="afar", size=32, width=5, seed=2)
    guess = (torch.rand(y.shape, generator=torch.Generator().manual_seed(0)) < share) + 1
    # By hand: of half the pixels that are of kind 1 the share 1 - s is found, and so on.
    a, b = 1 - share, share
    expected = (a / (1 + a) + b / (1 + b)) / 2
    assert expected <= 1 / 3
    assert iou(torch.where(y > 0, guess, 0), y) == pytest.approx(expected, abs=0.02)


def test_the_strokes_have_no_colour_if_the_kind_is_told_afar():
    x, y = strokes(500, told="afar", seed=3)
    for kind in (1, 2):
        assert x[:, 1][y == kind].mean().abs() < 0.01


def test_here_the_colour_of_each_stroke_is_its_kind():
    x, y = strokes(100, told="here", width=9, seed=4)
    together = (y == 1).any((1, 2)) & (y == 2).any((1, 2))
    assert 0.5 < together.float().mean() < 0.9  # three strokes are of two kinds three times in four
    assert ((x[:, 1] > 0) + 1 == y)[y > 0].float().mean() > 0.99  # noise of 0.3 around -1 and 1
    assert x[:, 1][y == 0].mean().abs() < 0.01


@pytest.mark.parametrize("width", [1.5, 4, 9])
def test_width(width):
    """Away from its ends a stroke covers, on every line across it, as many pixels as it is wide."""
    _, y = strokes(400, width=width, count=1, seed=5)
    length = 2 * 64 / 5
    area = width * length + torch.pi * width**2 / 4
    assert (y > 0).sum((1, 2)).float().mean().item() == pytest.approx(area, rel=0.05)


def test_the_seed_decides_and_places_are_everywhere():
    (x, y), (again, _), (other, _) = (strokes(300, size=32, seed=s) for s in (1, 1, 2))
    assert x.shape == (300, 2, 32, 32) and y.shape == (300, 32, 32) and y.dtype == torch.int64
    assert torch.equal(x, again) and not torch.equal(x, other)
    assert (y > 0).any(0).all()


@pytest.mark.parametrize("argument, value", [("n", 0), ("count", 0), ("size", 15), ("width", 0.5), ("told", "never")])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=f"strokes: {argument}.*{value}"):
        strokes(**{"n": 2, argument: value})
