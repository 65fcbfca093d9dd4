"""What is true of every loss: its gradient, its precision, what it ignores, what it refuses."""

from functools import partial

import pytest
import torch

from stitchwork.losses import (
    BinaryCrossEntropy,
    Boundary,
    CrossEntropy,
    Dice,
    Focal,
    Hausdorff,
    Tversky,
    WeightedSum,
)

IGNORED = 255
WEIGHTS = [0.5, 1.0, 4.0]


def both(**kwargs):
    return WeightedSum((0.4, CrossEntropy(**kwargs)), (0.6, Dice(squared=True, **kwargs)))


# Of class indices, for three classes ...
CLASSES = {
    "cross_entropy": CrossEntropy,
    "cross_entropy_weighted_and_smoothed": partial(CrossEntropy, class_weights=WEIGHTS, label_smoothing=0.1),
    "tversky": Tversky,
    "tversky_per_image": partial(Tversky, per_image=True, class_weights=WEIGHTS),
    "dice": Dice,
    "dice_without_background": partial(Dice, background=False),
    "dice_squared_per_image": partial(Dice, squared=True, per_image=True),
    "boundary": Boundary,
    "hausdorff": partial(Hausdorff, background=True),
    "sum": both,
}
# ... and for one logit ...
ONE = {"tversky": Tversky, "dice": Dice, "boundary": Boundary, "hausdorff": Hausdorff, "binary": BinaryCrossEntropy}
ONE |= {"focal": Focal, "sum": lambda **kwargs: WeightedSum((1, BinaryCrossEntropy(**kwargs)), (1, Dice(**kwargs)))}
# ... and of several answers of yes or no.
ANSWERS = {
    "binary": BinaryCrossEntropy,
    "binary_weighted": partial(BinaryCrossEntropy, 3.0),
    "focal": Focal,
    "focal_unweighted": partial(Focal, alpha=None),
    "focal_of_a_small_power": partial(Focal, gamma=0.5),
    "focal_without_focus": partial(Focal, gamma=0.0),
}
CASES = {f"{name}-3_classes": (loss, "labels", 3) for name, loss in CLASSES.items()}
CASES |= {f"{name}-1_logit": (loss, "labels", 1) for name, loss in ONE.items()}
CASES |= {f"{name}-3_answers": (loss, "answers", 3) for name, loss in ANSWERS.items()}
DISTANCES = ("boundary", "hausdorff")
every = pytest.mark.parametrize(("loss", "kind", "classes"), CASES.values(), ids=CASES)


def value_and_gradient(loss, logits, targets):
    logits = logits.detach().requires_grad_()
    value = loss(logits, targets)
    value.backward()
    return value.detach(), logits.grad


@every
def test_gradient(batch, loss, kind, classes):
    logits, targets = getattr(batch, kind)(classes=classes)
    assert torch.autograd.gradcheck(lambda z: loss()(z, targets), logits.requires_grad_())


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_left(batch, loss, kind, classes, dtype):
    """Half-precision logits give to the last bit what the same numbers give in float32, over a large image, too."""
    size = (40, 50) if loss in (Boundary, Hausdorff) else (300, 300)
    logits, targets = getattr(batch, kind)(classes=classes, size=size, dtype=dtype)
    value, gradient = value_and_gradient(loss(), logits, targets)
    expected, slope = value_and_gradient(loss(), logits.float(), targets)
    assert value.dtype == torch.float32 and value == expected
    torch.testing.assert_close(gradient, slope.to(dtype))


@every
def test_autocast(batch, loss, kind, classes):
    logits, targets = getattr(batch, kind)(classes=classes, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = value_and_gradient(loss(), logits, targets)
    torch.testing.assert_close((value, gradient), value_and_gradient(loss(), logits, targets))


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("sign", [1, -1], ids=["right", "wrong"])
def test_finite_for_logits_of_ten_thousand(batch, loss, kind, classes, dtype, sign):
    _, targets = getattr(batch, kind)(classes=classes)
    truth = (
        targets
        if kind == "answers"
        else targets[:, None] == (torch.arange(classes).view(-1, 1, 1) if classes > 1 else 1)
    )
    logits = (1e4 * sign * (2.0 * truth - 1)).to(dtype)
    value, gradient = value_and_gradient(loss(), logits, targets)
    assert value.isfinite() and gradient.isfinite().all()


@every
@pytest.mark.parametrize("ignored", [255, -1, -100])
def test_what_is_ignored_has_no_say(batch, loss, kind, classes, ignored):
    logits, targets = getattr(batch, kind)(classes=classes)
    out = torch.rand(targets.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    targets = targets.where(~out, ignored)
    value, gradient = value_and_gradient(loss(ignore_index=ignored), logits, targets)
    out = out if kind == "answers" else out[:, None].expand_as(logits)
    assert not gradient[out].any() and gradient[~out].any()
    others = logits.where(~out, -7 * logits - 3)
    torch.testing.assert_close(loss(ignore_index=ignored)(others, targets), value)
    wild = logits.where(~out, 1e4)
    torch.testing.assert_close(loss(ignore_index=ignored)(wild, targets), value)


@pytest.mark.parametrize(
    ("loss", "kind", "classes"),
    [case for n, case in CASES.items() if not n.startswith(DISTANCES)],
    ids=[n for n in CASES if not n.startswith(DISTANCES)],
)
def test_what_is_left_gives_the_value(batch, loss, kind, classes):
    """A loss in which places do not matter gives what the pixels that count give by themselves."""
    logits, targets = getattr(batch, kind)(batch=1, classes=classes)
    out = torch.rand(5, 6, generator=torch.Generator().manual_seed(1)) < 0.4
    value = loss(ignore_index=IGNORED)(logits, targets.where(~out, IGNORED))
    torch.testing.assert_close(value, loss()(logits[..., ~out], targets[..., ~out]))


@pytest.mark.parametrize(
    ("loss", "kind", "classes"),
    [case for n, case in CASES.items() if not n.startswith(DISTANCES)],
    ids=[n for n in CASES if not n.startswith(DISTANCES)],
)
def test_volumes_and_single_answers(batch, loss, kind, classes):
    """A volume gives what its pixels in a row give, and vectors without places are taken as well."""
    logits, targets = getattr(batch, kind)(classes=classes, size=(3, 4, 5))
    expected = loss()(logits.flatten(2), targets.flatten(-3))
    torch.testing.assert_close(loss()(logits, targets), expected)
    assert loss()(logits[..., 0, 0, 0], targets[..., 0, 0, 0]).isfinite()


@every
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32], ids=str)
def test_labels_of_any_whole_number(batch, loss, kind, classes, dtype):
    """Also those that are ignored with a number that their type does not have."""
    logits, targets = getattr(batch, kind)(classes=classes)
    for ignored in (None, -100):
        assert loss(ignore_index=ignored)(logits, targets.to(dtype)) == loss()(logits, targets)


@pytest.mark.parametrize("name", ONE)
def test_masks_of_one_logit(batch, name):
    """The truth for one logit may be true or false, and all but class indices may have its axis of length one."""
    logits, targets = batch.labels(classes=1)
    assert ONE[name]()(logits, targets.bool()) == ONE[name]()(logits, targets)


@every
def test_the_input_stays(batch, loss, kind, classes):
    logits, targets = getattr(batch, kind)(classes=classes)
    kept = logits.clone(), targets.clone()
    loss()(logits, targets)
    assert logits.equal(kept[0]) and targets.equal(kept[1])


@every
def test_a_batch_of_nothing(batch, loss, kind, classes):
    logits, targets = getattr(batch, kind)(classes=classes)
    numel = targets.numel()
    with pytest.raises(ValueError, match=rf"no label of this batch counts, for all {numel} labels are the 255 that is"):
        loss(ignore_index=255)(logits, torch.full_like(targets, 255))
    with pytest.raises(ValueError, match="no label of this batch counts, for it is empty: leave such a batch out"):
        loss()(logits[:0], targets[:0])


LABELS = {n: case for n, case in CASES.items() if case[1] == "labels" and not n.startswith(("binary", "focal", "sum"))}


@pytest.mark.parametrize(("loss", "kind", "classes"), LABELS.values(), ids=LABELS)
def test_refuses_labels(batch, loss, kind, classes):
    logits, labels = batch.labels(classes=classes)
    top = max(2, classes)
    with pytest.raises(
        ValueError, match=r"takes class indices, integers \(B, ...\); got torch.float32: make them int64"
    ):
        loss()(logits, labels.float())
    with pytest.raises(ValueError, match=r"need labels of shape \(2, 5, 6\); got \(2, 6, 5\)"):
        loss()(logits, labels.transpose(1, 2))
    with pytest.raises(ValueError, match=r"need labels of shape \(2, 5, 6\); got \(2, 1, 5, 6\)"):
        loss()(logits, labels[:, None])
    labels[0, 0, 0] = top
    with pytest.raises(
        ValueError, match=rf"reach from 0 to {top}, but there are {top} classes .* num_classes={top + 1}"
    ):
        loss()(logits, labels)
    labels[0, 0, 0] = -1
    with pytest.raises(ValueError, match=rf"reach from -1 to {top - 1}, but .* set ignore_index"):
        loss()(logits, labels)
    assert loss(ignore_index=-1)(logits, labels).isfinite()


@pytest.mark.parametrize("loss", ANSWERS.values(), ids=ANSWERS)
def test_refuses_answers(batch, loss):
    logits, targets = batch.answers()
    with pytest.raises(
        ValueError, match=r"\(2, 3, 5, 6\) need targets of the same shape, one for each class; got \(2, 5"
    ):
        loss()(logits, targets[:, 0])
    with pytest.raises(ValueError, match=r"same shape, without the second axis if you like; got \(2, 6, 5\)"):
        loss()(logits[:, :1], targets[:, 0].transpose(1, 2))
    targets[0, 0, 0, 0] = 2
    with pytest.raises(ValueError, match="targets must be 0 or 1; got values from 0 to 2"):
        loss()(logits, targets)
    with pytest.raises(ValueError, match="targets must be 0 or 1; got values from nan to nan"):
        loss()(logits, torch.full(targets.shape, torch.nan))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CrossEntropy(label_smoothing=1.0), "label_smoothing must be at least 0 and below 1; got 1.0"),
        (lambda: CrossEntropy(label_smoothing=-0.1), "label_smoothing must be at least 0 and below 1; got -0.1"),
        (
            lambda: CrossEntropy([1, -1]),
            r"CrossEntropy: class_weights must be 0 or greater, and not all 0; got \[1, -1\]",
        ),
        (lambda: Dice(class_weights=[0, 0]), r"Dice: class_weights must be 0 or greater, and not all 0; got \[0, 0\]"),
        (
            lambda: Dice(class_weights=[1, 0], background=False),
            r"Dice without background: class_weights must be 0 or greater, and not all 0; got \[0\]",
        ),
        (lambda: BinaryCrossEntropy(0.0), "positive_weight must be greater than 0; got 0.0"),
        (lambda: Focal(gamma=-1.0), "gamma must be 0 or greater; got -1.0"),
        (lambda: Focal(alpha=1.5), "alpha must be between 0 and 1, or None; got 1.5"),
        (lambda: Tversky(alpha=-0.1), "Tversky: alpha must be 0 or greater; got -0.1"),
        (lambda: Tversky(beta=-0.1), "Tversky: beta must be 0 or greater; got -0.1"),
        (lambda: Tversky(smooth=0.0), "Tversky: smooth must be greater than 0; got 0.0"),
        (lambda: Dice(smooth=-1.0), "Dice: smooth must be greater than 0; got -1.0"),
        (lambda: Hausdorff(power=0.0), "Hausdorff: power must be greater than 0; got 0.0"),
        (lambda: WeightedSum(), r"pairs of a factor greater than 0 and a loss; got \(\)"),
        (lambda: WeightedSum((0, Dice())), "pairs of a factor greater than 0 and a loss; got"),
    ],
)
def test_refuses_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("loss", [CrossEntropy, Dice, Tversky])
def test_refuses_weights_of_another_number_of_classes(batch, loss):
    with pytest.raises(ValueError, match=f"{loss.__name__}: 3 classes need as many class_weights; got 2"):
        loss(class_weights=[1, 2])(*batch.labels())


def test_cross_entropy_refuses_one_logit(batch):
    with pytest.raises(ValueError, match="needs two logits or more; for one logit take BinaryCrossEntropy"):
        CrossEntropy()(*batch.labels(classes=1))


def test_cross_entropy_refuses_a_batch_without_weight(batch):
    logits, labels = batch.labels()
    with pytest.raises(ValueError, match=r"every class of this batch has weight 0 in \[0, 1, 1\]: leave it out"):
        CrossEntropy([0, 1, 1])(logits, torch.zeros_like(labels))


def test_weighted_sum(batch):
    logits, labels = batch.labels()
    loss = WeightedSum((0.4, CrossEntropy()), (0.6, Dice()), (2, Boundary()))
    parts = [0.4 * CrossEntropy()(logits, labels), 0.6 * Dice()(logits, labels), 2 * Boundary()(logits, labels)]
    torch.testing.assert_close(loss(logits, labels), sum(parts))
