import pytest
import torch

from stitchwork.data.tasks import single_outlier


def test_the_outlier_decides():
    x, y = single_outlier(50, size=9, amplitude=8.0, seed=0)
    assert x.shape == (50, 3, 9, 9) and y.shape == (50, 1, 9, 9)
    for image, target in zip(x, y):
        plane = image[2].flatten()
        outlier = plane[plane.abs().argmax()]
        assert 7 < outlier.abs() < 9
        assert torch.equal(target[0], image[0] if outlier > 0 else image[1])


def test_both_signs_and_all_places_occur():
    x, _ = single_outlier(2000, size=6, seed=0)
    plane = x[:, 2].flatten(1)
    places = plane.abs().argmax(1)
    assert set(places.tolist()) == set(range(36))
    assert (plane.gather(1, places[:, None]) > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_the_mean_knows_nothing_and_the_maximum_everything():
    x, y = single_outlier(2000, size=16, seed=3)
    plane, positive = x[:, 2].flatten(1), (y[:, 0] == x[:, 0]).all((1, 2))
    assert plane.mean(1).abs().max() < 1e-5
    # also behind any linear convolution with circular padding
    shifted = x[:, 2] - 0.5 * x[:, 2].roll(1, 1) + 2 * x[:, 2].roll((2, 3), (1, 2))
    assert shifted.mean((1, 2)).abs().max() < 1e-5
    assert ((plane.amax(1) > 6) == positive).all()
    oracle = torch.where((plane.amax(1) > 6)[:, None, None, None], x[:, :1], x[:, 1:2])
    assert torch.equal(oracle, y)


def test_who_has_not_seen_the_pixel_is_half_wrong():
    x, y = single_outlier(2000, seed=1)
    blend = x[:, :2].mean(1, keepdim=True)
    assert (blend - y).square().mean().item() == pytest.approx(0.5, abs=0.02)
    assert y.square().mean().item() == pytest.approx(1, abs=0.03)


def test_the_seed_decides_the_samples_and_the_callers_generator_is_left_alone():
    before = torch.get_rng_state()
    one, same, other = single_outlier(4, seed=1), single_outlier(4, seed=1), single_outlier(4, seed=2)
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1]) and not torch.equal(one[0], other[0])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("size", 1), ("amplitude", 0.0), ("amplitude", -2.0)])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"single_outlier: {argument}.*{value}"):
        single_outlier(**{"n": 2, argument: value})
