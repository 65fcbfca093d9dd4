"""Dice and Tversky against plain numbers and MONAI."""

import math

import pytest
import torch
from monai.losses import DiceLoss, TverskyLoss

from stitchwork.losses import Dice, Tversky


def sums(logits, labels):
    """For each image and class: overlap, found, there, in plain loops."""
    shares = logits.softmax(1).flatten(2).tolist()
    labels = labels.flatten(1).tolist()
    for image, truth in zip(shares, labels):
        for class_, row in enumerate(image):
            yield (
                sum(p for p, y in zip(row, truth) if y == class_),
                sum(row),
                truth.count(class_),
                sum(p * p for p in row),
            )


@pytest.mark.parametrize("squared", [False, True])
def test_dice_by_hand(batch, squared):
    logits, labels = batch.labels()
    losses = [
        1 - (2 * both + 0.1) / ((square if squared else found) + there + 0.1)
        for both, found, there, square in sums(logits, labels)
    ]
    found = Dice(smooth=0.1, squared=squared, per_image=True)(logits, labels)
    assert found.item() == pytest.approx(sum(losses) / 6)


def test_tversky_by_hand(batch):
    logits, labels = batch.labels()
    losses = [
        1 - (both + 0.1) / (both + 0.2 * (found - both) + 0.9 * (there - both) + 0.1)
        for both, found, there, _ in sums(logits, labels)
    ]
    weights = [1, 0, 3]
    expected = sum(w * loss for w, loss in zip(weights * 2, losses)) / 8
    found = Tversky(0.2, 0.9, smooth=0.1, per_image=True, class_weights=weights)(logits, labels)
    assert found.item() == pytest.approx(expected)


def test_dice_of_one_pixel_by_hand():
    """Probability 3/4 of what is there: 2 · 3/4 over 3/4 + 1; squared 3/2 over 9/16 + 1."""
    logits, label = torch.full((1, 1, 1), math.log(3), dtype=torch.float64), torch.ones(1, 1, dtype=torch.long)
    assert Dice(1e-12)(logits, label).item() == pytest.approx(1 - 6 / 7)
    assert Dice(1e-12, squared=True)(logits, label).item() == pytest.approx(1 - 24 / 25)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("ignored", [None, 255])
@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)], ids=str)
def test_dice_of_monai(batch, squared, per_image, background, ignored, size):
    logits, labels = batch.labels(size=size)
    if ignored is not None:
        labels[:, :2] = ignored
    loss = Dice(1e-2, squared, per_image=per_image, background=background, ignore_index=ignored)
    theirs = DiceLoss(
        include_background=background, to_onehot_y=True, softmax=True, squared_pred=squared, smooth_nr=1e-2,
        smooth_dr=1e-2, batch=not per_image, ignore_index=ignored,
    )  # fmt: skip
    torch.testing.assert_close(loss(logits, labels), theirs(logits, labels[:, None]))


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("per_image", [False, True])
def test_dice_of_monai_for_one_logit(batch, squared, per_image):
    logits, labels = batch.labels(classes=1)
    theirs = DiceLoss(sigmoid=True, squared_pred=squared, smooth_nr=1e-2, smooth_dr=1e-2, batch=not per_image)
    mask = labels[:, None].double()
    torch.testing.assert_close(Dice(1e-2, squared, per_image=per_image)(logits, labels), theirs(logits, mask))


@pytest.mark.parametrize("background", [False, True])
def test_weights_of_monai(batch, background):
    """Theirs multiply and leave out the background where it does not count; ours are divided by their sum."""
    logits, labels = batch.labels()
    weights = [1.0, 2.0, 5.0] if background else [2.0, 5.0]
    theirs = DiceLoss(background, True, softmax=True, batch=True, weight=weights)(logits, labels[:, None])
    found = Dice(class_weights=[1, 2, 5], background=background)(logits, labels)
    torch.testing.assert_close(found, theirs * len(weights) / sum(weights))


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("ignored", [None, 255])
def test_tversky_of_monai(batch, per_image, background, ignored):
    logits, labels = batch.labels()
    if ignored is not None:
        labels[:, :2] = ignored
    loss = Tversky(0.3, 0.7, 1e-2, per_image, background, ignore_index=ignored)
    theirs = TverskyLoss(
        include_background=background, to_onehot_y=True, softmax=True, alpha=0.3, beta=0.7, smooth_nr=1e-2,
        smooth_dr=1e-2, batch=not per_image, ignore_index=ignored,
    )  # fmt: skip
    torch.testing.assert_close(loss(logits, labels), theirs(logits, labels[:, None]))


def test_two_halves_are_dice(batch):
    logits, labels = batch.labels()
    torch.testing.assert_close(Tversky(0.5, 0.5, smooth=0.1)(logits, labels), Dice(0.2)(logits, labels))


def test_two_ones_are_the_jaccard_index(batch):
    logits, labels = batch.labels()
    theirs = DiceLoss(to_onehot_y=True, softmax=True, jaccard=True, batch=True, smooth_nr=0.2, smooth_dr=0.2)
    torch.testing.assert_close(Tversky(1, 1, smooth=0.1)(logits, labels), theirs(logits, labels[:, None]))


def test_gradient_of_the_paper(batch):
    """Section 3 of V-Net, with the square in the denominator that its formula for the gradient has."""
    logits, labels = batch.labels(classes=1, batch=1)
    logits.requires_grad_()
    Dice(1e-12, squared=True)(logits, labels).backward()
    p, g = logits.detach().sigmoid()[:, 0], labels
    both, total = (p * g).sum(), (p * p).sum() + (g * g).sum()
    slope = 2 * (g * total - 2 * p * both) / total**2
    torch.testing.assert_close(logits.grad[:, 0], -slope * p * (1 - p))


def test_missing_costs_more_than_too_much_if_beta_is_larger():
    """An organ of ten pixels of a hundred: five too few, and five too many."""
    labels = (torch.arange(100) < 10).long()[None]

    def loss(found, **kwargs):
        return Tversky(**kwargs)(40 * ((torch.arange(100) < found).double() - 0.5)[None, None], labels).item()

    assert loss(5) == pytest.approx(1 - 5 / (5 + 0.7 * 5), abs=1e-4)
    assert loss(15) == pytest.approx(1 - 10 / (10 + 0.3 * 5), abs=1e-4)
    assert loss(5, alpha=0.7, beta=0.3) < loss(5)


@pytest.mark.parametrize("loss", [Tversky, Dice])
def test_a_class_that_is_neither_there_nor_found_costs_nothing(loss):
    logits, labels = torch.full((1, 3, 4), -1e4), torch.zeros(1, 4, dtype=torch.long)
    logits[:, 0] = 1e4
    assert loss()(logits, labels).item() == 0
    logits[:, 1:] = logits[:, :2].clone()  # found everywhere and nowhere there: class 1
    logits[:, 0] = -1e4
    assert loss()(logits, labels).item() == pytest.approx(2 / 3, abs=1e-4)


@pytest.mark.parametrize("loss", [Tversky, Dice])
def test_size_does_not_matter(loss):
    """Half of each organ is found: one of four pixels costs what one of four hundred does."""
    values = []
    for side in (4, 400):
        labels = torch.zeros(1, 1000, dtype=torch.long)
        labels[:, :side] = 1
        found = torch.arange(1000) < side // 2
        values.append(loss(background=False)(torch.stack([~found, found])[None] * 50.0, labels).item())
    assert values[0] == pytest.approx(values[1], abs=1e-4) and values[0] > 0.3


def test_an_image_of_which_nothing_counts_is_left_out_of_the_mean(batch):
    logits, labels = batch.labels()
    labels[1] = 255
    loss = Dice(per_image=True, ignore_index=255)
    torch.testing.assert_close(loss(logits, labels), loss(logits[:1], labels[:1]))
