import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.data.tasks import glyph_anywhere, glyphs


def best_fit(x: torch.Tensor, classes: int = 8) -> torch.Tensor:
    """Lay every sign on every place of the ring, and take the one that fits best anywhere."""
    x = F.pad(x, (0, 3, 0, 3), mode="circular")
    return F.conv2d(x, glyphs(classes)[:, None]).amax((2, 3)).argmax(1)


def test_every_sign_is_half_ones_and_none_is_another_turned_around():
    signs = glyphs(8)
    assert signs.shape == (8, 4, 4) and signs.abs().eq(1).all() and signs.sum((1, 2)).eq(0).all()
    assert torch.equal(signs[:3], glyphs(3))
    fits = (signs.flatten(1) @ signs.flatten(1).T).fill_diagonal_(0)
    assert fits.abs().max() < 14  # two pixels and more apart


def test_without_noise_the_image_is_the_sign_and_nothing_else():
    x, y = glyph_anywhere(200, noise=0.0, seed=1)
    assert x.shape == (200, 1, 12, 12) and y.shape == (200,) and set(y.tolist()) == set(range(8))
    assert ((x != 0).sum((1, 2, 3)) == 16).all() and torch.equal(best_fit(x), y)


def test_one_detector_at_every_place_solves_it():
    x, y = glyph_anywhere(2000, seed=2)
    assert (best_fit(x) == y).float().mean() > 0.97


def test_the_place_is_anywhere_and_says_nothing():
    x, _ = glyph_anywhere(4000, size=6, noise=0.0, seed=3)
    often = (x != 0).float().mean((0, 1))
    assert (often - 16 / 36).abs().max() < 0.04
    x, y = glyph_anywhere(16000, size=6, noise=0.0, seed=4)
    for sign in range(8):
        assert x[y == sign].mean(0).abs().max() < 0.09  # of 1


def test_no_weighted_sum_of_the_pixels_knows_anything():
    (x, y), (new, truth) = glyph_anywhere(8000, seed=5), glyph_anywhere(4000, seed=6)
    weights = torch.linalg.lstsq(x.flatten(1), F.one_hot(y).float()).solution
    right = ((new.flatten(1) @ weights).argmax(1) == truth).float().mean()
    assert abs(right - 1 / 8) < 0.04


def test_a_detector_at_one_place_is_right_only_there():
    torch.manual_seed(0)
    x, y = glyph_anywhere(4000, seed=7)
    here = nn.functional.conv2d(x, glyphs()[:, None])[:, :, 4, 4].argmax(1)
    assert (here == y).float().mean() < 0.25


def test_the_seed_decides_the_samples_and_the_callers_generator_is_left_alone():
    before = torch.get_rng_state()
    one, same, other = glyph_anywhere(4, seed=1), glyph_anywhere(4, seed=1), glyph_anywhere(4, seed=2)
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1]) and not torch.equal(one[0], other[0])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("size", 3), ("classes", 1), ("noise", -0.1)])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"glyph_anywhere: {argument}.*got {value}"):
        glyph_anywhere(**{"n": 2, argument: value})
