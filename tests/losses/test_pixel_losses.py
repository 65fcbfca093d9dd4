"""Cross-entropy and focal loss against plain numbers, PyTorch, torchvision and MONAI."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from monai.losses import FocalLoss
from torchvision.ops import sigmoid_focal_loss

from stitchwork.losses import BinaryCrossEntropy, CrossEntropy, Focal


def test_cross_entropy_by_hand():
    """Two pixels, probabilities 3/4 and 1/4 of the truth, weighed 1 and 3."""
    logits = torch.tensor([[[math.log(3), math.log(3)], [0.0, 0.0]]], dtype=torch.float64)
    labels = torch.tensor([[0, 1]])
    assert CrossEntropy()(logits, labels).item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert CrossEntropy([1, 3])(logits, labels).item() == pytest.approx((math.log(4 / 3) + 3 * math.log(4)) / 4)


def test_smoothing_by_hand():
    """A tenth of the target over both classes: 0.95 and 0.05."""
    logits, labels = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64), torch.tensor([0])
    expected = 0.95 * math.log(4 / 3) + 0.05 * math.log(4)
    assert CrossEntropy(label_smoothing=0.1)(logits, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 0.0]], ids=str)
@pytest.mark.parametrize("ignored", [None, 2, 255])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_pytorch(batch, weights, ignored, smoothing):
    logits, labels = batch.labels(scale=5)
    labels[0, :2] = 2 if ignored is None else ignored
    found = CrossEntropy(weights, ignored, smoothing)(logits, labels)
    weights = None if weights is None else torch.tensor(weights, dtype=logits.dtype)
    ignore = {} if ignored is None else {"ignore_index": ignored}
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, weights, label_smoothing=smoothing, **ignore))


def test_one_logit_is_two_of_which_one_is_zero(batch):
    logits, labels = batch.labels(classes=1)
    two = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(BinaryCrossEntropy()(logits, labels), CrossEntropy()(two, labels))
    # The weights of cross-entropy divide by their sum, the weight of what is there does not.
    mean = CrossEntropy([1, 5])(two, labels) * torch.tensor([1.0, 5.0])[labels].sum() / labels.numel()
    torch.testing.assert_close(BinaryCrossEntropy(5)(logits, labels), mean)


def test_binary_cross_entropy_by_hand():
    logits = torch.tensor([[math.log(3), math.log(3)]], dtype=torch.float64)
    expected = (2 * math.log(4 / 3) + math.log(4)) / 2
    assert BinaryCrossEntropy(2)(logits, torch.tensor([[1, 0]])).item() == pytest.approx(expected)


def test_truth_with_or_without_the_axis_of_the_classes(batch):
    logits, labels = batch.labels(classes=1)
    for loss in (BinaryCrossEntropy(), Focal()):
        assert loss(logits, labels) == loss(logits, labels[:, None]) == loss(logits, labels[:, None].double())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.25, 0.0, 1.0])
@pytest.mark.parametrize("classes", [1, 4])
def test_focal_of_torchvision(batch, gamma, alpha, classes):
    logits, targets = batch.answers(classes=classes, scale=4)
    theirs = partial(sigmoid_focal_loss, alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="mean")
    torch.testing.assert_close(Focal(gamma, alpha)(logits, targets), theirs(logits, targets.double()))


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_of_monai(batch, alpha):
    """Its sigmoid form, in float32; what it does with a softmax is another loss."""
    logits, targets = batch.answers(dtype=torch.float32)
    torch.testing.assert_close(Focal(3.0, alpha)(logits, targets), FocalLoss(gamma=3.0, alpha=alpha)(logits, targets))


@pytest.mark.parametrize(("share", "factor"), [(0.9, 100), (0.968, 1000)])
def test_focus_of_the_paper(share, factor):
    """Section 3.2: with gamma 2 a probability of 0.9 counts a hundred times less, one of 0.968 about a thousand."""
    logits, truth = torch.tensor([[math.log(share / (1 - share))]], dtype=torch.float64), torch.tensor([[1]])
    ratio = BinaryCrossEntropy()(logits, truth) / Focal(2, None)(logits, truth)
    assert ratio.item() == pytest.approx(factor, rel=0.03)


def test_without_focus_it_is_cross_entropy(batch):
    logits, targets = batch.answers()
    torch.testing.assert_close(Focal(0, None)(logits, targets), BinaryCrossEntropy()(logits, targets))
    # alpha weighs what is there with 1/4 and what is not with 3/4: a third as much
    expected = 0.75 * BinaryCrossEntropy(1 / 3)(logits, targets)
    torch.testing.assert_close(Focal(0, 0.25)(logits, targets), expected)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_the_focal_gradient_of_what_is_certain_is_zero(gamma):
    """Also for powers below one, whose own derivative at zero is infinite."""
    for dtype in (torch.float32, torch.float64):
        logits = torch.tensor([[200.0, -200.0, 1e4]], dtype=dtype, requires_grad=True)
        Focal(gamma)(logits, torch.tensor([[1, 0, 1]])).backward()
        assert logits.grad.abs().max() < 1e-20
