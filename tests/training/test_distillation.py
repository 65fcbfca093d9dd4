"""A taught student: it learns, its teacher does not, and the run is as exact as any other."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from stitchwork.losses import Distillation
from stitchwork.models.deit import DistilledViT
from stitchwork.training import Recipe, Taught, evaluate, fit

from .helpers import FAST, network, same_weights, samples


def quick(taught, train=None, valid=None, recipe=FAST, **kwargs):
    return fit(taught, train or samples(), valid, recipe, loss=taught.loss, progress=False, **kwargs)


class Recorder(nn.Module):
    """Keeps what goes in, whether it was in training and whether gradients were kept."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.seen = inner, []

    def __deepcopy__(self, memo):
        copied = Recorder(copy.deepcopy(self.inner, memo))
        copied.seen = self.seen
        return copied

    def forward(self, x):
        self.seen.append((x.detach().clone(), self.inner.training, torch.is_grad_enabled()))
        return self.inner(x)


class PowerCut(nn.Module):
    """Fails when the network is called for the n-th time in training."""

    def __init__(self, inner, n=-1):
        super().__init__()
        self.inner, self.left = inner, n

    def forward(self, x):
        self.left -= self.training
        if self.left == 0:
            raise RuntimeError("power cut")
        return self.inner(x)


def test_the_teacher_is_a_copy_that_does_not_change():
    """Neither its weights nor its BatchNorm statistics; and the caller's own is left as it was."""
    student, teacher = network(0), network(1).train()
    before, taught = copy.deepcopy(teacher), Taught(student, teacher, Distillation())
    quick(taught, recipe=replace(FAST, weight_decay=0.5))
    assert same_weights(taught.teacher, before) and same_weights(teacher, before)
    assert teacher.training and all(p.requires_grad for p in teacher.parameters())
    assert not same_weights(student, network(0)) and taught.student is student


def test_only_the_student_is_trained():
    taught = Taught(network(0), network(1), Distillation("soft"))
    assert [p for p in taught.parameters() if p.requires_grad] == list(taught.student.parameters())
    taught.loss(taught(torch.randn(4, 6)), torch.tensor([0, 1, 2, 0])).backward()
    assert all(p.grad is not None for p in taught.student.parameters())
    assert all(p.grad is None for p in taught.teacher.parameters())


def test_the_teacher_stays_in_evaluation():
    taught = Taught(network(0), network(1).train(), Distillation())
    for mode in (True, False, True):
        assert taught.train(mode) is taught and taught.training is taught.student.training is mode
        assert not any(part.training for part in taught.teacher.modules())
    x = torch.randn(8, 6)
    assert taught(x)[1].equal(network(1).eval()(x)) and not taught(x)[1].requires_grad


def test_what_comes_out():
    """In training a pair, the student's first; in evaluation the student's alone, and the teacher is not asked."""
    taught, x = Taught(network(0), Recorder(network(1)), Distillation()), torch.randn(8, 6)
    student, teacher = taught.train()(x)
    assert student.requires_grad and teacher.shape == student.shape == (8, 3)
    asked = len(taught.teacher.seen)
    assert taught.eval()(x).equal(taught.student(x)) and len(taught.teacher.seen) == asked == 1


def test_both_see_the_same_blend():
    student, teacher = Recorder(network(0)), Recorder(network(1))
    quick(Taught(student, teacher, Distillation()), recipe=replace(FAST, epochs=1, mixup=0.4))
    assert len(student.seen) == len(teacher.seen) == 6
    for (ours, training, grad), (theirs, teaching, teachers_grad) in zip(student.seen, teacher.seen):
        assert ours.equal(theirs) and training and grad and not teaching and not teachers_grad
    pictures = samples().tensors[0]
    assert not all((pictures == row).all(1).any() for row in student.seen[0][0]), "nothing was blended"


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_mixup_blends_the_labels_and_not_the_lesson(kind):
    """The teacher has seen the blend: what it says of it counts once, whatever the share."""
    from stitchwork.training.objectives import mixup

    taught, y = Taught(network(0), network(1), Distillation(kind, alpha=0.4)), torch.tensor([0, 1, 2, 0, 1, 2])
    torch.manual_seed(3)
    shares, loss = mixup(torch.eye(6), y, 0.8, taught.loss)  # of the identity: who was blended with whom
    student, teacher = torch.randn(6, 2, 3), torch.randn(6, 3)
    own = -(shares @ F.one_hot(y, 3).float() * student[:, 0].log_softmax(1)).sum(1).mean()
    lesson = Distillation(kind, alpha=1.0)(student, teacher, y)
    assert loss((student, teacher), y).item() == pytest.approx((0.6 * own + 0.4 * lesson).item(), rel=1e-5)


def test_evaluation_is_the_students():
    taught, data = Taught(network(0), network(1), Distillation()), samples(31)
    history = quick(taught, valid=data)
    expected = evaluate(taught.student, data)
    assert evaluate(taught, data) == expected
    assert history.valid_loss.iloc[-1] == pytest.approx(expected["loss"])


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_student_learns_what_its_teacher_knows(kind):
    """From points whose labels say nothing."""
    teacher, student = network(0), network(1)
    fit(teacher, samples(200), recipe=replace(FAST, epochs=10), progress=False)
    points = TensorDataset(samples(200, seed=2).tensors[0], torch.zeros(200, dtype=torch.long))
    unseen = samples(100, seed=1)
    assert evaluate(student, unseen)["accuracy"] < 0.8 < 0.9 < evaluate(teacher, unseen)["accuracy"]
    quick(Taught(student, teacher, Distillation(kind, alpha=1.0)), points, recipe=replace(FAST, epochs=10))
    assert evaluate(student, unseen)["accuracy"] > 0.9


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_run_that_was_cut_goes_on_to_the_same_bits(tmp_path, kind):
    recipe = Recipe(epochs=3, batch_size=8, lr=0.01, ema=0.9, mixup=0.2)

    def run(folder, n=-1, seed=0):
        taught = Taught(PowerCut(network(seed), n), network(7), Distillation(kind))
        history = quick(taught, valid=samples(20, 1), recipe=recipe, checkpoint_dir=folder, resume=True)
        return taught, history

    whole, expected = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "parts", n=9)
    resumed, history = run(tmp_path / "parts", seed=5)
    assert same_weights(whole, resumed) and same_weights(expected.ema, history.ema)
    assert expected.drop(columns="seconds").equals(history.drop(columns="seconds"))
    assert same_weights(history.ema.teacher, network(7)), "the average has moved the teacher"


def test_a_network_with_two_heads():
    """Images, a distillation token, and a teacher of another kind."""
    torch.manual_seed(0)
    sizes = {"dim": 12, "depth": 1, "num_heads": 2, "patch_size": 4, "image_size": 8, "num_classes": 2}
    student = DistilledViT(**sizes, distilled_training=True)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    before = copy.deepcopy(student.head)
    y = torch.arange(16) % 2
    data = TensorDataset(torch.randn(16, 3, 8, 8) + y[:, None, None, None], y)
    taught = Taught(student, teacher, Distillation())
    history = quick(taught, data, data, replace(FAST, batch_size=4))
    assert taught.train()(data.tensors[0])[0].shape == (16, 2, 2)
    for head in ("label", "distillation"):
        assert not same_weights(getattr(student.head, head), getattr(before, head))
    assert history.valid_loss.iloc[-1] == pytest.approx(evaluate(student, data)["loss"])
