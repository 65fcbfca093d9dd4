"""Dice and HD95 against hand-made cases and the plain definitions; volumes through a network slice by slice."""

import itertools
import math
import sys
import weakref

import numpy
import pytest
import torch
from scipy import ndimage
from torch import nn

from stitchwork.analysis import evaluate_volumes, predict_slices, segmentation_scores

pytest.importorskip("monai", reason="Dice and HD95 are computed by MONAI")


def cube(first, shape=(20, 40, 40), side=(8, 16, 16), label=1):
    volume = torch.zeros(shape, dtype=torch.int64)
    volume[tuple(slice(start, start + length) for start, length in zip(first, side))] = label
    return volume


def scores(prediction, labels, num_classes=2, **options):
    table = segmentation_scores(prediction, labels, num_classes, **options)
    return table["dice"].tolist(), table["hd95"].tolist()


def surface(mask):
    return mask & ~ndimage.binary_erosion(mask)


def plain_dice(found, true):
    return 2 * (found & true).sum() / (found.sum() + true.sum())


def directed(found, true, spacing):
    """The distances of each voxel of one surface to the other, and back."""
    away = [ndimage.distance_transform_edt(~surface(mask), sampling=spacing) for mask in (true, found)]
    return away[0][surface(found)], away[1][surface(true)]


# --- hand-made cases


@pytest.mark.parametrize(("axis", "steps", "spacing"), [(0, 2, (3.0, 1.0, 1.0)), (1, 3, (5.0, 0.7, 0.9)), (2, 1, None)])
def test_a_shifted_cube_is_as_far_off_as_it_was_shifted(axis, steps, spacing):
    start = [4, 10, 10]
    moved = start.copy()
    moved[axis] += steps
    dice, hd95 = scores(cube(moved), cube(start), spacing=spacing)
    side = (8, 16, 16)[axis]
    assert dice == pytest.approx([(side - steps) / side])
    assert hd95 == pytest.approx([steps * (spacing or (1, 1, 1))[axis]])


def test_a_perfect_answer_and_one_that_is_beside_it():
    labels = cube((2, 2, 2))
    assert scores(labels, labels) == ([1.0], [0.0])
    dice, hd95 = scores(cube((2, 2, 22)), labels, spacing=(1, 1, 2))
    assert dice == [0.0] and 20 < hd95[0] <= 40


def test_classes_are_measured_one_by_one_and_named():
    labels, found = cube((0, 0, 0)), cube((0, 0, 0))
    labels += cube((10, 20, 20), label=2)
    found += cube((10, 20, 21), label=2)
    table = segmentation_scores(found, labels, 3, classes=("liver", "spleen"))
    assert table.columns.tolist() == ["class", "dice", "hd95"] and table["class"].tolist() == ["liver", "spleen"]
    assert table["dice"].tolist() == pytest.approx([1, 15 / 16]) and table["hd95"].tolist() == pytest.approx([0, 1])
    assert segmentation_scores(found, labels, 3)["class"].tolist() == [1, 2]


def test_a_slice_by_itself():
    labels = torch.zeros(30, 30, dtype=torch.int64)
    labels[5:15, 5:15] = 1
    dice, hd95 = scores(labels.roll(2, 0), labels, spacing=(1.5, 1))
    assert dice == pytest.approx([0.8]) and hd95 == pytest.approx([3.0])


# --- the plain definitions


@pytest.mark.parametrize("seed", range(3))
def test_dice_and_hd95_are_what_their_definitions_say(seed):
    rng, spacing = numpy.random.default_rng(seed), (2.5, 0.8, 0.7)
    # smooth random blobs, some of which end at the border of the volume
    fields = [ndimage.gaussian_filter(rng.standard_normal((10, 24, 26)), 2) for _ in range(2)]
    true, found = fields[0] > 0.02, fields[0] + 0.5 * fields[1] > 0.02
    to_true, to_found = directed(found, true, spacing)
    dice, hd95 = scores(torch.from_numpy(found).long(), torch.from_numpy(true).long(), spacing=spacing)
    assert dice == pytest.approx([plain_dice(found, true)], rel=1e-5)
    both = max(numpy.percentile(to_true, 95), numpy.percentile(to_found, 95))
    assert hd95 == pytest.approx([both], rel=1e-5)


def test_the_percentile_of_both_directions_together_is_smaller():
    """A far speck counts in one direction only. MedPy puts it among the voxels of both."""
    true = cube((6, 10, 10), side=(8, 8, 8)).bool()
    found = true.clone()
    found[0:3, 30:34, 30:34] = True
    to_true, to_found = directed(found.numpy(), true.numpy(), (1, 1, 1))
    together = numpy.percentile(numpy.hstack([to_true, to_found]), 95)
    _, (hd95,) = scores(found.long(), true.long())
    assert hd95 == pytest.approx(numpy.percentile(to_true, 95)) and together < hd95 - 1


# --- classes that are missing


NOTHING = torch.zeros(20, 40, 40, dtype=torch.int64)
SOMETHING = cube((4, 10, 10))
FARTHEST = math.sqrt((19 * 3) ** 2 + 39**2 + 39**2)


@pytest.mark.parametrize(
    ("truth", "found", "counted", "published"),
    [
        (NOTHING, NOTHING, (math.nan, math.nan), (0, 0)),
        (NOTHING, SOMETHING, (0, FARTHEST), (1, 0)),
        (SOMETHING, NOTHING, (0, FARTHEST), (0, 0)),
    ],
    ids=["in neither", "found only", "missed"],
)
def test_missing_classes(truth, found, counted, published):
    for absent, expected in (("counted", counted), ("published", published)):
        dice, hd95 = scores(found, truth, spacing=(3, 1, 1), absent=absent)
        assert (*dice, *hd95) == pytest.approx(expected, nan_ok=True)


def test_a_class_that_is_there_is_the_same_under_both_conventions():
    found = SOMETHING.roll(1, 2)
    assert scores(found, SOMETHING) == scores(found, SOMETHING, absent="published")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": NOTHING[:10]}, r"\(10, 40, 40\) and \(20, 40, 40\)"),
        ({"prediction": NOTHING + 2}, "prediction must be classes from 0 to 1; got 2 to 2"),
        ({"labels": NOTHING - 1}, "labels must be classes from 0 to 1; got -1"),
        ({"spacing": (1, 1)}, "spacing must be 3 positive"),
        ({"spacing": (1, 0, 1)}, r"spacing must be 3 positive.*0\.0"),
        ({"classes": ("liver", "spleen")}, "the 1 classes.*got 2 names"),
        ({"absent": "ignored"}, "counted.*published.*'ignored'"),
    ],
)
def test_refusals(change, message):
    arguments = {"prediction": NOTHING, "labels": SOMETHING, "num_classes": 2} | change
    with pytest.raises(ValueError, match=message):
        segmentation_scores(**arguments)


def test_without_monai_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'stitchwork\[medical\]'"):
        segmentation_scores(torch.zeros(2, 2).long(), torch.zeros(2, 2).long(), 2)


# --- volumes


class Threshold(nn.Module):
    """Class 1 above 0.4 and class 2 above 0.8: a network that knows the answer. It notes what it was given."""

    def __init__(self):
        super().__init__()
        self.place, self.seen, self.modes = nn.Parameter(torch.zeros(())), [], []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        self.modes.append(self.training)
        return torch.cat([torch.full_like(x, 0.4), x, 2 * x - 0.8], 1)


def scans(count=2, shape=(5, 40, 44)):
    """Volumes whose grey values are half the labels, as an iterator that cannot be read twice."""
    for index in range(count):
        labels = cube((1, 5 + index, 8), shape, (3, 20, 20), 1)
        labels[2, 15:20, 15:20] = 2
        yield f"case{index}", labels / 2, labels, (4.0, 1.0, 1.0)


def test_every_class_of_every_case_has_a_row():
    table = evaluate_volumes(Threshold(), scans(), size=None, batch_size=2, progress=False)
    assert table.columns.tolist() == ["case", "class", "dice", "hd95"]
    cases = list(itertools.product(["case0", "case1"], [1, 2]))
    assert list(zip(table["case"], table["class"])) == cases
    assert table["dice"].tolist() == [1] * 4 and table["hd95"].tolist() == [0] * 4


def test_the_spacing_of_the_case_counts():
    _, image, labels, _ = next(scans())
    image = image.roll(1, 0)  # the answer is one slice off
    near, far = (("near", image, labels, (1, 1, 1)), ("far", image, labels, (4, 1, 1)))
    hd95 = evaluate_volumes(Threshold(), [near, far], None, progress=False).set_index(["case", "class"])["hd95"]
    assert hd95["near", 1] == 1 and hd95["far", 1] == 4


def test_slices_are_resized_to_the_network_and_back():
    net = Threshold()
    _, image, labels, _ = next(scans())
    found = predict_slices(net, image, 64, batch_size=2)
    assert net.seen == [(2, 1, 64, 64), (2, 1, 64, 64), (1, 1, 64, 64)]
    assert found.shape == labels.shape and found.dtype == torch.int64
    # the order of the published code: splines, the network, its classes, nearest pixel
    for mine, slice_ in zip(found, image.numpy()):
        grown = ndimage.zoom(slice_, (64 / 40, 64 / 44), order=3)
        classes = (grown > 0.4).astype(int) + (grown > 0.8)
        assert numpy.array_equal(mine, ndimage.zoom(classes, (40 / 64, 44 / 64), order=0))
    assert (found == labels).float().mean() > 0.97


def test_a_single_class_is_where_the_logit_is_positive():
    class One(nn.Module):
        def forward(self, x):
            return x - 0.4

    table = evaluate_volumes(One(), [("a", SOMETHING / 2, SOMETHING, (1, 1, 1))], None, progress=False)
    assert len(table) == 1 and table["dice"].item() == 1


def test_the_batch_size_changes_nothing_and_the_network_comes_back_as_it_was():
    net = Threshold().train()
    one, many = (evaluate_volumes(net, scans(), 32, batch_size, progress=False) for batch_size in (1, 16))
    assert one.equals(many)
    assert net.training and not any(net.modes)


def test_one_volume_is_in_memory_at_a_time():
    known = []

    class OneByOne:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index == 4:
                raise IndexError
            assert not any(image() is not None for image in known)
            name, image, labels, spacing = next(itertools.islice(scans(4), index, None))
            known.append(weakref.ref(image))
            return name, image, labels, spacing

    evaluate_volumes(Threshold(), OneByOne(), None)
    assert len(known) == 4


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (("odd", SOMETHING / 2, SOMETHING[:4], (1, 1, 1)), r"odd: image \(20, 40, 40\) and labels \(4, 40, 40\)"),
        (("odd", SOMETHING / 2, SOMETHING * 7, (1, 1, 1)), "odd: .*labels must be classes from 0 to 2; got 0 to 7"),
        (("odd", SOMETHING / 2, SOMETHING, (1, 1)), "odd: .*spacing"),
    ],
)
def test_a_volume_that_does_not_fit_is_named(volume, message):
    with pytest.raises(ValueError, match=message):
        evaluate_volumes(Threshold(), [volume], None, progress=False)


def test_further_refusals():
    with pytest.raises(ValueError, match="no volumes"):
        evaluate_volumes(Threshold(), [], progress=False)
    with pytest.raises(ValueError, match=r"a volume.*\(3, 4\)"):
        predict_slices(Threshold(), torch.zeros(3, 4))
    for argument in ("size", "batch_size"):
        with pytest.raises(ValueError, match=f"{argument} must be at least 1; got 0"):
            predict_slices(Threshold(), torch.zeros(2, 3, 4), **{argument: 0})
