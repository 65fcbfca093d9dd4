"""Losses of distances against brute force and MONAI."""

import pytest
import torch
from monai.losses import BoundaryLoss, HausdorffDTLoss

from stitchwork.losses import Boundary, Hausdorff
from stitchwork.losses.boundary import distances


def nearest_of_the_other_kind(inside, counts):
    """For each pixel the least distance to a known pixel of the other kind, by measuring all."""
    places = torch.stack(torch.meshgrid(*map(torch.arange, inside.shape), indexing="ij"), -1).double().flatten(0, -2)
    gaps, inside, counts = torch.cdist(places, places), inside.flatten(), counts.flatten()
    if not (inside & counts).any() or not (~inside & counts).any():
        return torch.zeros(inside.shape)
    others = (inside[:, None] != inside) & counts
    return gaps.where(others, torch.inf).amin(1)


@pytest.mark.parametrize("size", [(7, 9), (1, 6), (4, 5, 3)], ids=str)
@pytest.mark.parametrize("known", [1.0, 0.6])
def test_distances(size, known):
    generator = torch.Generator().manual_seed(0)
    inside = torch.rand(3, 2, *size, generator=generator) < 0.2
    inside[0, 0], inside[0, 1] = True, False  # nothing else, nothing
    counts = torch.rand(3, 1, *size, generator=generator) < known
    found = distances(inside, counts).flatten(2)
    assert found.dtype == torch.float32 and found[1:].max() > 1.5 and not found[0].any()
    for image in range(3):
        for class_ in range(2):
            expected = nearest_of_the_other_kind(inside[image, class_], counts[image, 0])
            torch.testing.assert_close(found[image, class_], expected.float())


def organs(batch, size, classes=3):
    """Blocks of labels rather than noise, so that there are distances of more than a pixel."""
    logits, _ = batch.labels(classes=classes, size=size)
    labels = torch.zeros(2, *size, dtype=torch.long)
    labels[0, 1:5, 2:7] = 1
    labels[1, :3, :4] = max(1, classes - 1)
    labels[1, 5:, 5:] = 1
    return logits, labels


@pytest.mark.parametrize("size", [(8, 9), (8, 9, 4)], ids=str)
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(Boundary, BoundaryLoss), (Hausdorff, HausdorffDTLoss)], ids=lambda loss: loss.__name__
)
def test_monai(batch, size, background, ours, theirs):
    """The second class is in one of the two images alone; both give such a class no distance."""
    logits, labels = organs(batch, size)
    expected = theirs(include_background=background, to_onehot_y=True, softmax=True)(logits, labels[:, None])
    torch.testing.assert_close(ours(background=background)(logits, labels), expected)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Boundary, BoundaryLoss), (Hausdorff, HausdorffDTLoss)], ids=lambda loss: loss.__name__
)
def test_monai_for_one_logit(batch, ours, theirs):
    """Its distances have the type of the mask: whole numbers would round them down."""
    logits, labels = organs(batch, (8, 9), classes=1)
    expected = theirs(include_background=True, sigmoid=True)(logits, labels[:, None].double())
    torch.testing.assert_close(ours()(logits, labels), expected)


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_powers_of_monai(batch, power):
    logits, labels = organs(batch, (8, 9))
    theirs = HausdorffDTLoss(alpha=power, include_background=False, to_onehot_y=True, softmax=True)
    torch.testing.assert_close(Hausdorff(power)(logits, labels), theirs(logits, labels[:, None]))


def line(*values):
    """Logits and labels of one line for probabilities and truths of one class."""
    shares, labels = zip(*values)
    return torch.tensor(shares, dtype=torch.float64).logit()[None, None, None], torch.tensor(labels)[None, None]


def test_boundary_by_hand():
    """Signed distances 2, 1, 0, -1, of which the border is the last pixel inside."""
    logits, labels = line((0.5, 0), (0.1, 0), (0.9, 1), (0.8, 1))
    assert Boundary()(logits, labels).item() == pytest.approx((2 * 0.5 + 0.1 - 0.8) / 4)


def test_hausdorff_by_hand():
    """Distances to the truth's border 2, 1, 1, 2 and to the prediction's 1, 1, 2, 3."""
    logits, labels = line((0.6, 0), (0.1, 0), (0.2, 1), (0.3, 1))
    errors, weights = [0.6, 0.1, 0.8, 0.7], [4 + 1, 1 + 1, 1 + 4, 4 + 9]
    expected = sum(e * e * w for e, w in zip(errors, weights)) / 4
    assert Hausdorff()(logits, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [Boundary, Hausdorff])
def test_what_is_ignored_is_no_border(loss):
    """With the third of five pixels unknown the border is behind it: the others keep their distances to each other."""
    values = [(0.4, 0), (0.3, 0), (0.9, 255), (0.8, 1), (0.7, 1)]
    logits, labels = line(*values)
    found = loss(ignore_index=255)(logits, labels).item()
    if loss is Boundary:  # 3, 2 outside and 1 - 2, 1 - 3 inside
        expected = (3 * 0.4 + 2 * 0.3 - 0.8 - 2 * 0.7) / 4
    else:
        expected = 2 * (9 * 0.16 + 4 * 0.09 + 4 * 0.04 + 9 * 0.09) / 4
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("loss", [Boundary, Hausdorff])
def test_an_error_far_away_costs_more(loss):
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels[:, 3:8, 3:8] = 1
    values = []
    for row in (9, 13, 19):
        shares = labels.double().clamp(0.01, 0.99)
        shares[:, row, 5] = 0.99
        values.append(loss()(shares.logit()[:, None], labels).item())
    assert values == sorted(values) and values[2] > values[0]


def test_the_gradient_of_the_boundary_loss_is_the_distance(batch):
    """Before the sigmoid: d over the number of pixels, whatever the network says."""
    logits, labels = organs(batch, (8, 9), classes=1)
    logits.requires_grad_()
    Boundary()(logits, labels).backward()
    p = logits.detach().sigmoid()
    distance = distances(labels[:, None] == 1, torch.ones_like(labels)[:, None]).double()
    signed = torch.where(labels[:, None] == 1, 1 - distance, distance)
    torch.testing.assert_close(logits.grad, signed * p * (1 - p) / labels.numel())
