"""Organs that only place and grey value together tell apart, as a scanner sees them."""

import sys

import pytest
import torch
import torch.nn.functional as F

from stitchwork.data import ORGANS, phantom

CLASSES = {name: k for k, name in enumerate(ORGANS, 1)}


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


def means(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of each image's pixels in a mask: (n,); not a number where there are none."""
    return (x[:, 0] * mask).sum((1, 2)) / mask.sum((1, 2))


def inner(y: torch.Tensor, name: str) -> torch.Tensor:
    """The pixels of an organ whose neighbours all belong to it."""
    return F.avg_pool2d((y == CLASSES[name]).float()[:, None], 3, 1, 1)[:, 0] > 0.999


def test_shapes_and_seed():
    before = torch.get_rng_state()
    one, same, other = phantom(3, size=40, seed=1), phantom(3, size=40, seed=1), phantom(3, size=40, seed=2)
    assert one[0].shape == (3, 1, 40, 40) and one[1].shape == (3, 40, 40) and one[1].dtype == torch.int64
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1]) and not torch.equal(one[0], other[0])
    assert torch.equal(before, torch.get_rng_state())
    assert phantom(1)[0].shape == (1, 1, 224, 224)  # Synapse's


def test_few_slices_are_drawn_at_once(monkeypatch):
    """So that thousands need no more memory than themselves."""
    module, counts = sys.modules["stitchwork.data.phantom"], []
    draw = module._draw_bodies
    monkeypatch.setattr(module, "_draw_bodies", lambda x, *rest: (counts.append(len(x)), draw(x, *rest)))
    x, y = phantom(100, size=32)
    assert max(counts) <= 32 and sum(counts) == 100
    assert len(x.flatten(1).unique(dim=0)) == 100 and len(y.flatten(1).unique(dim=0)) == 100


# --- anatomy


def test_which_organs_there_are_depends_on_the_height_of_the_slice():
    _, y = phantom(600, size=64)
    there = torch.stack([(y == k).flatten(1).any(1) for k in range(9)]).float()
    present = dict(zip(("none", *ORGANS), there.mean(1).tolist()))
    assert all(present[name] > 0.98 for name in ("none", "aorta", "liver"))
    assert all(present[name] > 0.7 for name in ORGANS if name != "gallbladder")
    assert all(present[name] < 0.97 for name in ("left kidney", "right kidney", "spleen", "stomach"))
    assert 0.45 < present["gallbladder"] < 0.85
    # high up the spleen and no right kidney, low down the other way round
    spleen, kidney = there[CLASSES["spleen"]], there[CLASSES["right kidney"]]
    assert torch.corrcoef(torch.stack([spleen, kidney]))[0, 1] < -0.05


def test_some_bodies_have_no_gallbladder():
    """Even at the height where it is largest: where the liver, the right kidney and the pancreas are large, too."""
    _, y = phantom(600, size=64)
    area = torch.stack([(y == CLASSES[name]).sum((1, 2)) for name in ("right kidney", "pancreas")]).float()
    middle = (area > area.median(1, keepdim=True).values).all(0)
    without = (y[middle] != CLASSES["gallbladder"]).flatten(1).all(1).float().mean()
    assert 0.05 < without < 0.3


def test_left_is_the_images_right():
    _, y = phantom(50, size=64)
    columns = torch.arange(64.0)
    middle = {name: columns.expand_as(y)[y == k].mean() for name, k in CLASSES.items()}
    assert middle["right kidney"] < 28 < 36 < middle["left kidney"]
    assert middle["liver"] < 28 < 36 < middle["spleen"]


def test_organs_vary_in_place_size_and_tilt():
    _, y = phantom(400, size=64)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    places = {}
    for name in ("liver", "aorta", "pancreas"):
        mask = (y == CLASSES[name]).float()
        area = mask.sum((1, 2))
        down, right = places[name] = torch.stack([(mask * axis).sum((1, 2)) / area for axis in (rows, columns)])
        there = area > 5
        assert down[there].std() > 2 and right[there].std() > 2, name  # pixels of 64
        assert area[there].std() > 0.15 * area[there].mean(), name
    # not with the body alone: two that are both in its middle move apart
    apart = places["aorta"] - places["pancreas"]
    assert apart[:, there].std(1).min() > 1.2

    away, over = (axis - middle[:, None, None] for axis, middle in zip((rows, columns), (down, right)))
    shared, tall, wide = ((mask * product).sum((1, 2)) for product in (away * over, away**2, over**2))
    tilt = torch.atan2(2 * shared, wide - tall) / 2  # of the ellipse with the pancreas's second moments
    assert tilt[there].rad2deg().std() > 8


def test_no_organ_is_an_ellipse():
    """An ellipse holds the places that are nearer than 4 by its own second moments; a kidney does not quite."""
    _, y = phantom(32, size=256)
    mask = (y == CLASSES["left kidney"]).flatten(1)  # nothing lies on top of it
    axis = torch.arange(256.0, dtype=torch.float64)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)  # (2, pixels)
    wrong = []
    for inside in mask[mask.sum(1) > 500]:
        here = places[:, inside]
        away = places - here.mean(1, keepdim=True)
        distance = (away * torch.linalg.solve(here.cov(), away)).sum(0)
        wrong.append(((distance <= 4) != inside).sum() / inside.sum())
    assert torch.stack(wrong).mean() > 0.02


def test_organs_touch():
    _, y = phantom(200, size=64)
    pairs = [(y[:, 1:], y[:, :-1]), (y[:, :, 1:], y[:, :, :-1])]
    touching = sum(((a != b) & (a > 0) & (b > 0)).flatten(1).sum(1) for a, b in pairs) > 5
    assert touching.float().mean() > 0.7


# --- partial volume


def test_a_pixel_on_a_border_has_the_mean_of_what_is_in_it():
    """An image is what averaging one of four times its size gives, far nearer than by taking single pixels."""
    (coarse, y), (fine, fine_y) = (phantom(30, size=size, noise=0, seed=3) for size in (64, 256))
    soft, hard = F.avg_pool2d(fine, 4), fine[:, :, 2::4, 2::4]
    border = F.max_pool2d(y[:, None].float(), 3, 1, 1) != -F.max_pool2d(-y[:, None].float(), 3, 1, 1)
    error = {name: (coarse - image)[border].abs().mean() for name, image in (("soft", soft), ("hard", hard))}
    assert error["soft"] < 0.01 and error["soft"] < 0.4 * error["hard"]
    most = torch.stack([F.avg_pool2d((fine_y == k).float(), 4) for k in range(9)]).argmax(0)
    assert (most == y).float().mean() > 0.995


# --- the scanner


def test_without_noise_an_organ_is_flat_but_for_the_uneven_brightness():
    x, y = phantom(60, size=160, noise=0)
    slopes = []
    mask = inner(y, "right kidney")
    columns = torch.linspace(-1, 1, 160).expand_as(mask)
    for image, part, place in zip(x[:, 0], mask, columns):
        grey, place = image[part], place[part] - place[part].mean()
        if len(grey) > 150:
            slopes.append((grey * place).sum() / place.square().sum())
            assert grey.std() < 0.02  # much less than organs differ
    slopes = torch.stack(slopes)
    assert slopes.abs().mean() > 0.01 and abs(slopes.mean()) < slopes.std() / 2  # towards one side or the other


def test_every_scan_has_its_own_gain_and_offset():
    x, y = phantom(600, size=64, noise=0)
    air = x[:, 0, 0, 0]
    assert air.std() > 0.02
    liver, aorta = (means(x, inner(y, name)) for name in ("liver", "aorta"))
    seen = liver.isfinite() & aorta.isfinite()
    assert torch.corrcoef(torch.stack([liver, aorta])[:, seen])[0, 1] > 0.4  # bright together, dark together
    # far apart, so that the uneven brightness does not help, and without the offset: what is left is the gain
    liver, spleen = (means(x, inner(y, name)) - air for name in ("liver", "spleen"))
    seen = liver.isfinite() & spleen.isfinite()
    assert torch.corrcoef(torch.stack([liver, spleen])[:, seen])[0, 1] > 0.2


def test_noise_is_in_every_pixel_and_in_no_label():
    quiet, y = phantom(40, size=64, noise=0, seed=5)
    for noise in (0.02, 0.3):
        x, same = phantom(40, size=64, noise=noise, seed=5)
        assert torch.equal(y, same)
        added = (x - quiet)[:, 0] / noise
        assert added.mean().abs() < 0.02 and added.std().item() == pytest.approx(1, abs=0.02)
        right, down = (added[:, :, 1:] * added[:, :, :-1]).mean(), (added[:, 1:] * added[:, :-1]).mean()
        assert max(right.abs(), down.abs()) < 0.02  # each pixel has its own


# --- what decides


def test_neither_grey_value_nor_place_tells_the_organs():
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
    assert grey_alone < 0.3 and place_alone < 0.55
    assert max(grey_alone, place_alone) + 0.1 < together < 0.9  # and a pixel's own of both is not enough
    assert results[0].max() < 0.7  # no organ has a grey value of its own


def test_the_vena_cava_looks_like_the_aorta():
    """As bright and as large, on the other side of the middle, and without a label."""
    x, y = phantom(300, size=64, noise=0)
    aorta = y == CLASSES["aorta"]
    right, left = (torch.zeros_like(aorta) for _ in range(2))
    right[:, :, :32], left[:, :, 32:] = True, True
    level = means(x, inner(y, "aorta"))[:, None, None]
    like = ((x[:, 0] - level).abs() < 0.1) & (y == 0)
    rows = torch.arange(64.0)[:, None]
    at = (aorta * rows).sum((1, 2)) / aorta.sum((1, 2))
    near = (rows - at[:, None, None]).abs() < 4
    found = (like & near & right).sum((1, 2)).float()
    assert (found > 0.3 * aorta.sum((1, 2))).float().mean() > 0.7


def test_a_cyst_looks_like_the_gallbladder_and_belongs_to_its_organ():
    x, y = phantom(300, size=96, noise=0)
    liver, gallbladder = (means(x, inner(y, name))[:, None, None] for name in ("liver", "gallbladder"))
    dark = inner(y, "liver") & (x[:, 0] < (liver + gallbladder.nan_to_num(0.45)) / 2)
    assert 0.2 < (dark.sum((1, 2)) > 15).float().mean() < 0.8  # some livers have one


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("size", 31), ("noise", -0.1)])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"phantom: {argument} must.*got {value}"):
        phantom(**{"n": 1, argument: value})
