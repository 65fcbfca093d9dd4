import math

import pytest
import torch
from torch import nn

from stitchwork.data.tasks import stripes


def strength(plane: torch.Tensor, periods: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How strong lying and upright stripes are, whatever their phase."""
    size = plane.shape[-1]
    angle = 2 * math.pi * periods * torch.arange(size) / size
    waves = torch.stack([angle.cos(), angle.sin()])  # (2, size)
    return ((plane.mean(axis) @ waves.T).norm(dim=1) for axis in (2, 1))


@pytest.mark.parametrize(("size", "periods"), [(14, 3), (9, 2), (16, 1)])
def test_the_frequency_of_the_stripes_tells_the_answer(size, periods):
    x, y = stripes(300, size=size, periods=periods, noise=0.5, seed=0)
    lying, upright = strength(x[:, 2], periods)
    for image, target, lies in zip(x, y[:, 0], lying > upright):
        assert torch.equal(target, image[0] if lies else image[1])


def test_another_frequency_does_not_tell():
    x, _ = stripes(1000, noise=0.0, seed=0)
    assert all(s.max() < 1e-4 for s in strength(x[:, 2], 2))


def test_means_behind_a_convolution_know_nothing():
    torch.manual_seed(0)
    x, _ = stripes(200, seed=0)
    convolution = nn.Conv2d(1, 16, 3, padding=1, padding_mode="circular", bias=False)
    assert convolution(x[:, 2:]).mean((2, 3)).abs().max() < 1e-5
    # while behind a ReLU they do know something
    assert convolution(x[:, 2:]).relu().mean((2, 3)).std(0).max() > 0.01


def test_every_pixel_is_drawn_alike():
    x, _ = stripes(4000, size=9, periods=2, noise=0.5, seed=0)
    plane = x[:, 2]
    assert plane.mean(0).abs().max() < 0.08
    assert (plane.square().mean(0) - 1.25).abs().max() < 0.15  # 1 of the stripes, 0.25 of the noise


def test_the_error_of_knowing_nothing_is_one_and_of_not_knowing_the_stripes_a_half():
    (x, y), (again, _), (other, _) = (stripes(1000, seed=s) for s in (1, 1, 2))
    assert y.square().mean().item() == pytest.approx(1, abs=0.02)
    assert (x[:, :2].mean(1, keepdim=True) - y).square().mean().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(x, again) and not torch.equal(x, other)


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("size", 6), ("periods", 0), ("noise", -1.0)])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"stripes: {argument}.*{value}"):
        stripes(**{"n": 2, argument: value})
