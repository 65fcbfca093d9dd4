"""Organs that only place and grey value together tell apart."""

import pytest
import torch

from stitchwork.data import ORGANS, phantom


def dice(found: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The overlap of each organ, 0 to 1."""
    return torch.stack(
        [2 * ((found == k) & (y == k)).sum() / ((found == k).sum() + (y == k).sum()).clamp(1) for k in range(1, 9)]
    )


def grey_levels(x: torch.Tensor) -> torch.Tensor:
    return (x[:, 0] * 20).round().long().clamp(0, 21)  # (n, H, W): steps of a twentieth


def frequencies(keys: torch.Tensor, y: torch.Tensor, count: int) -> torch.Tensor:
    """How often each class was seen with each key: (count, 9)."""
    return torch.bincount(keys.flatten() * 9 + y.flatten(), minlength=count * 9).view(count, 9).float() + 0.01


def test_shapes_and_seed():
    before = torch.get_rng_state()
    one, same, other = phantom(3, size=40, seed=1), phantom(3, size=40, seed=1), phantom(3, size=40, seed=2)
    assert one[0].shape == (3, 1, 40, 40) and one[1].shape == (3, 40, 40) and one[1].dtype == torch.int64
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1]) and not torch.equal(one[0], other[0])
    assert torch.equal(before, torch.get_rng_state())
    assert phantom(1)[0].shape == (1, 1, 224, 224)  # Synapse's


@pytest.mark.parametrize("size", [32, 224])
def test_every_image_has_every_organ(size):
    _, y = phantom(60, size=size)
    present = torch.stack([(y == k).flatten(1).any(1) for k in range(9)]).float().mean(1)
    assert len(ORGANS) == 8 and (present > 0.98).all()


def test_left_is_the_images_right():
    _, y = phantom(50, size=64)
    columns = torch.arange(64.0)
    middle = {name: columns.expand_as(y)[y == k].mean() for k, name in enumerate(ORGANS, 1)}
    assert middle["right kidney"] < 28 < 36 < middle["left kidney"]
    assert middle["liver"] < 28 < 36 < middle["spleen"]


def test_without_noise_grey_values_are_flat_and_in_range():
    x, y = phantom(20, size=64, noise=0)
    assert x.min() >= 0 and x.max() <= 1.1
    for image, labels in zip(x[:, 0], y):
        assert all(len(image[labels == k].unique()) <= 1 for k in range(1, 9))


def test_neither_grey_value_nor_place_tells_the_organs_but_both_together_do():
    (x, y), (new_x, new_y) = phantom(3000, size=32, noise=0, seed=1), phantom(500, size=32, noise=0, seed=2)
    place = torch.arange(32 * 32).view(1, 32, 32)
    grey, new_grey = grey_levels(x), grey_levels(new_x)
    by_grey = frequencies(grey, y, 22)
    by_place = frequencies(place.expand_as(y), y, 1024)
    weight = by_grey.sum(0).rsqrt()  # as one would train, so that small organs count
    grey_says, place_says = by_grey[new_grey], by_place[place.expand_as(new_y)]
    both_say = grey_says * place_says / by_grey.sum(0)
    results = [dice((says * weight).argmax(-1), new_y) for says in (grey_says, place_says, both_say)]
    grey_alone, place_alone, together = (result.mean().item() for result in results)
    assert grey_alone < 0.5 and place_alone < 0.6 and together > 0.9
    kidneys = [ORGANS.index("left kidney"), ORGANS.index("right kidney")]
    assert results[0][kidneys].max() < 0.5 and results[2][kidneys].min() > 0.9


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("size", 31), ("noise", -0.1)])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"phantom: {argument} must.*got {value}"):
        phantom(**{"n": 1, argument: value})
