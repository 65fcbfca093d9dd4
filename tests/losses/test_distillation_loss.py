"""Distillation by hand: its two kinds, its gradients, and what temperature does to them."""

import math

import pytest
import torch
import torch.nn.functional as F

from stitchwork.losses import Dice, Distillation

STUDENT = torch.tensor([[[2.0, 0.0, -1.0], [1.0, 1.0, 0.0]], [[0.0, 3.0, 1.0], [-1.0, 0.5, 2.0]]], dtype=torch.float64)
TEACHER = torch.tensor([[3.0, 0.0, 0.0], [0.0, -1.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1])


def softmax(logits, temperature=1.0):
    exponentials = [math.exp(z / temperature) for z in logits]
    return [e / sum(exponentials) for e in exponentials]


def cross_entropy(logits, labels):
    """The mean over the images, in plain numbers."""
    return sum(-math.log(softmax(z)[y]) for z, y in zip(logits.tolist(), labels)) / len(labels)


def gradient(loss, student=STUDENT, teacher=TEACHER):
    student = student.clone().requires_grad_()
    loss(student, teacher, LABELS).backward()
    return student.grad


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_hard(alpha):
    """Equation 3: the second head's label is what the teacher finds likeliest."""
    own, taught = STUDENT.unbind(1)
    expected = (1 - alpha) * cross_entropy(own, [0, 1]) + alpha * cross_entropy(taught, [0, 2])
    assert Distillation("hard", alpha)(STUDENT, TEACHER, LABELS).item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft(temperature):
    """Equation 2: T² times the divergence of the softened distributions, a mean over the images."""
    own, taught = STUDENT.unbind(1)
    divergence = 0.0
    for ours, theirs in zip(taught.tolist(), TEACHER.tolist()):
        p, q = softmax(theirs, temperature), softmax(ours, temperature)
        divergence += sum(a * math.log(a / b) for a, b in zip(p, q)) / 2
    expected = 0.9 * cross_entropy(own, [0, 1]) + 0.1 * temperature**2 * divergence
    loss = Distillation("soft", alpha=0.1, temperature=temperature)
    assert loss(STUDENT, TEACHER, LABELS).item() == pytest.approx(expected)


def test_the_defaults_are_the_papers_for_hard_labels():
    loss = Distillation()
    assert (loss.kind, loss.alpha, loss.temperature, loss.label_smoothing) == ("hard", 0.5, 3.0, 0.0)


@pytest.mark.parametrize("temperature", [1.0, 3.0, 10.0])
def test_gradient_of_the_soft_lesson(temperature):
    """T (softmax(Z_d / T) - softmax(Z_t / T)) / B, on the distillation token alone."""
    found = gradient(Distillation("soft", 1.0, temperature))
    expected = temperature * ((STUDENT[:, 1] / temperature).softmax(1) - (TEACHER / temperature).softmax(1)) / 2
    torch.testing.assert_close(found[:, 1], expected)
    assert not found[:, 0].any()


def test_the_gradient_does_not_vanish_at_high_temperature():
    """It goes to the difference of the centred logits over B K, whatever T is: that is what T² is for."""
    difference = STUDENT[:, 1] - TEACHER
    limit = (difference - difference.mean(1, keepdim=True)) / (2 * 3)
    for temperature in (100.0, 1000.0):
        found = gradient(Distillation("soft", 1.0, temperature))[:, 1]
        torch.testing.assert_close(found, limit, atol=3 / temperature, rtol=0)
    assert limit.abs().max() > 0.1


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize(("alpha", "silent"), [(0.0, 1), (1.0, 0)])
def test_each_head_has_its_own_teacher(kind, alpha, silent):
    found = gradient(Distillation(kind, alpha))
    assert not found[:, silent].any() and found[:, 1 - silent].all()


def test_a_student_that_agrees_has_nothing_to_learn():
    student = torch.stack([STUDENT[:, 0], TEACHER + 5], 1)  # the same distribution, by other logits
    for temperature in (1.0, 4.0):
        loss = Distillation("soft", 1.0, temperature)
        assert loss(student, TEACHER, LABELS).item() == pytest.approx(0, abs=1e-12)
        assert gradient(loss, student).abs().max() < 1e-12


def test_hard_labels_do_not_know_how_sure_the_teacher_is():
    for kind, same in (("hard", True), ("soft", False)):
        loss = Distillation(kind, alpha=1.0)
        assert (loss(STUDENT, TEACHER, LABELS) == loss(STUDENT, 7 * TEACHER, LABELS)).item() is same


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_network_without_the_token_gives_the_same_logits_for_both(kind):
    single, loss = STUDENT[:, 0], Distillation(kind, 0.4)
    assert loss(single, TEACHER, LABELS) == loss(torch.stack([single, single], 1), TEACHER, LABELS)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_smoothing_is_for_the_labels_alone(kind):
    plain, smooth = (Distillation(kind, 0.5, label_smoothing=share) for share in (0.0, 0.2))
    target = 0.8 * F.one_hot(LABELS, 3) + 0.2 / 3
    own = STUDENT[:, 0].log_softmax(1)
    change = -((target - F.one_hot(LABELS, 3)) * own).sum(1).mean() / 2
    losses = [loss(STUDENT, TEACHER, LABELS).item() for loss in (plain, smooth)]
    assert losses[1] - losses[0] == pytest.approx(change.item())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "medium"}, "kind must be 'hard' or 'soft'; got 'medium'"),
        ({"alpha": 1.1}, "alpha must be between 0 and 1; got 1.1"),
        ({"alpha": -0.1}, "alpha must be between 0 and 1; got -0.1"),
        ({"temperature": 0.0}, "temperature must be greater than 0; got 0.0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1; got 1.0"),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Distillation(**arguments)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_refuses_a_teacher_of_other_classes(kind):
    """Also one whose single class would be stretched to the student's three."""
    for classes in (1, 2, 5):
        with pytest.raises(ValueError, match=rf"student's shape \(2, 3\); got \(2, {classes}\): take a teacher of the"):
            Distillation(kind)(STUDENT, torch.zeros(2, classes), LABELS)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_map_is_taught_at_each_pixel(kind):
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 4, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (2, 4, 5), generator=generator)
    pixels = [logits.movedim(1, -1).flatten(0, -2) for logits in (student, teacher)]
    loss = Distillation(kind, 0.3)
    torch.testing.assert_close(loss(student, teacher, labels), loss(*pixels, labels.flatten()))


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_another_loss_for_the_labels(kind):
    """It takes the place of cross-entropy and leaves the lesson as it is."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 4, 5, generator=generator, dtype=torch.float64)
    labels, dice = torch.randint(3, (2, 4, 5), generator=generator), Dice()
    lesson = Distillation(kind, 1.0)(student, teacher, labels)
    expected = 0.7 * dice(student, labels) + 0.3 * lesson
    torch.testing.assert_close(Distillation(kind, 0.3, loss=dice)(student, teacher, labels), expected)


def test_another_loss_smooths_by_itself():
    with pytest.raises(ValueError, match=r"label_smoothing=0.1 is for cross-entropy; smooth in your loss"):
        Distillation(label_smoothing=0.1, loss=Dice())
