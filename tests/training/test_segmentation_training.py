"""The published recipe, its loss, Dice for each class, the data under their names, a teacher of maps, exact resume."""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torchmetrics import MetricCollection

from stitchwork.data import ORGANS
from stitchwork.data.slices import SliceDataset
from stitchwork.losses import Distillation
from stitchwork.models.unet import UNet
from stitchwork.training import Recipe, Taught, TrainingInterrupted, evaluate, fit
from stitchwork.training.segmentation import (
    EVIT_UNET,
    SEGMENTATION_SETS,
    ClassDice,
    PhantomSlices,
    load_segmentation,
    regions_and_pixels,
    set_aside,
    taught,
)

from .helpers import same_weights
from .test_resume import Trap, press_ctrl_c

LOGITS = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(3, (4, 5, 6), generator=torch.Generator().manual_seed(1))


def small(seed=0, classes=9):
    torch.manual_seed(seed)
    return UNet((4, 4, 4, 4, 4), num_classes=classes, in_chans=1)


def test_the_recipe_is_that_of_the_official_code():
    expected = Recipe(300, 128, 2e-3, 1e-3, 0.0, None, optimiser="adamw", schedule="poly")
    assert expected == EVIT_UNET


def test_the_loss_is_that_of_the_official_code():
    """0.4 cross-entropy + 0.6 Dice with squared denominators, as MONAI computes them."""
    dice = DiceLoss(to_onehot_y=True, softmax=True, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)
    expected = 0.4 * F.cross_entropy(LOGITS, LABELS) + 0.6 * dice(LOGITS, LABELS[:, None])
    assert regions_and_pixels()(LOGITS, LABELS).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("sizes", [(4,), (1, 3), (2, 1, 1)])
def test_dice_by_hand(sizes):
    """Over all pixels together, whatever the batches are."""
    metric = ClassDice(["liver", "left kidney"])
    for logits, labels in zip(LOGITS.split(sizes), LABELS.split(sizes)):
        metric.update(logits, labels)
    found, scores = LOGITS.argmax(1), metric.compute()
    expected = [
        2 * ((found == k) & (k == LABELS)).sum().item() / ((found == k).sum() + (k == LABELS).sum()).item()
        for k in (1, 2)
    ]
    assert list(scores) == ["dice", "dice_liver", "dice_left_kidney"]
    assert [score.item() for score in scores.values()] == pytest.approx([sum(expected) / 2, *expected])


def test_a_class_that_is_nowhere_does_not_count():
    metric = ClassDice(["a", "b"])
    labels = torch.tensor([[[0, 1], [1, 1]]])
    metric.update(F.one_hot(labels, 3).movedim(-1, 1).float(), labels)
    scores = metric.compute()
    assert scores["dice"] == scores["dice_a"] == 1 and scores["dice_b"].isnan()


def test_dice_of_a_single_logit():
    metric = ClassDice(["polyp"])
    metric.update(torch.tensor([[[[1.0, 1.0, -1.0, -1.0]]]]), torch.tensor([[[1, 0, 1, 0]]]))
    assert metric.compute()["dice"] == 0.5


def test_dice_in_a_history():
    metric = MetricCollection(ClassDice(["a"]))
    metric.update(LOGITS[:, :2], LABELS % 2)
    assert set(metric.compute()) == {"dice", "dice_a"}


def test_the_phantom():
    task = load_segmentation("phantom", "nowhere", size=32, samples=30)
    assert task.classes == ORGANS and (task.in_chans, task.num_classes, task.best) == (1, 9, "dice")
    assert [len(part) for part in (task.train, task.valid, task.test)] == [30, 3, 3]
    x, y = task.train[0]
    assert x.shape == (1, 32, 32) and y.shape == (32, 32) and y.dtype == torch.int64
    assert all(torch.equal(a, b) for a, b in zip(task.train[7], PhantomSlices(30, 32)[7]))
    images = [part[i][0] for part in (task.train, task.valid, task.test) for i in range(len(part))]
    assert len({tuple(image.flatten().tolist()) for image in images}) == 36, "no slice comes twice"
    with pytest.raises(IndexError, match="30 slices; got index 30"):
        task.train[30]


def test_an_unknown_set_is_told_the_known_ones():
    with pytest.raises(ValueError, match=f"no slices named 'brain'; choose one of {', '.join(SEGMENTATION_SETS)}"):
        load_segmentation("brain", "nowhere")


def synapse(root, scans=7, slices=2):
    """A folder in the layout of Synapse, with small files."""
    import h5py

    random = numpy.random.default_rng(0)
    (root / "train_npz").mkdir(), (root / "test_vol_h5").mkdir(), (root / "lists_Synapse").mkdir()
    names = [f"case{scan:04d}_slice{i:03d}" for scan in range(scans) for i in range(slices)]
    for name in names:
        image, label = random.random((16, 16), numpy.float32), random.integers(9, size=(16, 16)).astype(numpy.float32)
        numpy.savez(root / "train_npz" / f"{name}.npz", image=image, label=label)
    with h5py.File(root / "test_vol_h5" / "case9999.npy.h5", "w") as file:
        file["image"], file["label"] = random.random((3, 16, 16)), random.integers(9, size=(3, 16, 16))
    (root / "lists_Synapse" / "train.txt").write_text("\n".join(names))
    (root / "lists_Synapse" / "test_vol.txt").write_text("case9999\n")
    return root


def test_synapse_sets_scans_aside_and_leaves_the_test_alone(tmp_path):
    task = load_segmentation("synapse", synapse(tmp_path), size=32)
    scans = [{path.name[:8] for path in part.files} for part in (task.train, task.valid)]
    assert scans[1] == {"case0005"} and len(scans[0]) == 6 and not scans[0] & scans[1]
    assert len(task.train) == 12 and len(task.valid) == 2
    assert task.train.augment and not task.valid.augment
    assert task.valid[0][0].shape == (1, 32, 32)
    assert [volume.name for volume in task.test] == ["case9999"] and task.classes == ORGANS


@pytest.mark.parametrize(("scans", "expected"), [(2, {1}), (5, {4}), (6, {5}), (18, {5, 11, 17})])
def test_every_sixth_scan_is_set_aside(scans, expected):
    files = [Path(f"case{scan:04d}_slice{i:03d}.npz") for scan in range(scans) for i in range(3)]
    train, valid = set_aside(SliceDataset(files, None, 32, augment=True))
    assert {int(path.name[4:8]) for path in valid.files} == expected
    assert sorted([*train.files, *valid.files]) == files


def test_a_single_scan_cannot_be_set_aside():
    with pytest.raises(ValueError, match="1 scan is too few"):
        set_aside(SliceDataset([Path("case0001_slice000.npz")], None, 32))


# A teacher


def divergence(student, teacher, temperature):
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    return temperature**2 * (p * (p / q).log()).sum(1).mean()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_map_is_taught_as_its_pixels_are(temperature):
    """The same number as for a batch of pixels, so that the share of the lesson does not depend on the size."""
    teacher = torch.randn(LOGITS.shape, generator=torch.Generator().manual_seed(2))
    loss = Distillation("soft", alpha=0.3, temperature=temperature)
    rows = [logits.movedim(1, -1).flatten(0, 2) for logits in (LOGITS, teacher)]
    assert loss(LOGITS, teacher, LABELS).item() == pytest.approx(loss(*rows, LABELS.flatten()).item(), rel=1e-5)
    expected = 0.7 * F.cross_entropy(LOGITS, LABELS) + 0.3 * divergence(LOGITS, teacher, temperature)
    assert loss(LOGITS, teacher, LABELS).item() == pytest.approx(expected.item(), rel=1e-5)
    hard = Distillation("hard", alpha=1.0)(LOGITS, teacher, LABELS)
    assert hard.item() == pytest.approx(F.cross_entropy(LOGITS, teacher.argmax(1)).item(), rel=1e-5)


def test_the_labels_may_have_their_own_loss():
    teacher, own = LOGITS.flip(0), regions_and_pixels()
    loss = Distillation("soft", 0.25, 2.0, loss=own)
    expected = 0.75 * own(LOGITS, LABELS) + 0.25 * divergence(LOGITS, teacher, 2.0)
    assert loss(LOGITS, teacher, LABELS).item() == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1"):
        Distillation("soft", label_smoothing=0.1, loss=own)


def test_a_taught_network_is_measured_by_its_own_loss():
    student = taught(small(), small(1), 0.3, regions_and_pixels()).eval()
    x, y = PhantomSlices(1, 32)[0]
    output = student(x[None])
    assert isinstance(student, Taught) and output.shape == (1, 9, 32, 32)
    assert student.loss(output, y[None]) == regions_and_pixels()(output, y[None])
    assert len(list(student.loss.__self__.distillation.parameters())) == 0


# The run


def run(folder=None, n=-1, seed=0, teacher=False):
    task = load_segmentation("phantom", "", size=32, samples=12)
    recipe = replace(EVIT_UNET, epochs=3, batch_size=4, lr=1e-2)
    model = Trap(small(seed), n, press_ctrl_c)
    learner = taught(model, small(7), 0.3, task.loss) if teacher else model
    options = {"checkpoint_dir": folder, "resume": True} if folder else {}
    loss = learner.loss if teacher else task.loss
    history = fit(
        learner,
        task.train,
        task.valid,
        recipe,
        loss=loss,
        metrics=task.metrics,
        best="valid_dice",
        progress=False,
        **options,
    )
    return learner, history


@pytest.mark.parametrize("step", range(1, 10))
def test_a_run_that_is_stopped_at_any_step_goes_on_to_the_same_bits(tmp_path, step, whole):
    learner, expected = whole
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, n=step)
    resumed, history = run(tmp_path, seed=5)
    assert same_weights(learner, resumed) and same_weights(expected.best, history.best)
    assert expected.best_epoch == history.best_epoch
    assert expected.drop(columns="seconds").equals(history.drop(columns="seconds"))


@pytest.fixture(scope="module")
def whole():
    """The run that nobody stops."""
    return run()


def test_under_a_teacher_too(tmp_path):
    learner, expected = run(teacher=True)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, n=5, teacher=True)
    resumed, history = run(tmp_path, seed=5, teacher=True)
    assert same_weights(learner, resumed) and same_weights(expected.best.student, history.best.student)
    assert same_weights(history.best.teacher, small(7))


def test_the_history_has_a_column_for_each_organ(whole):
    _, history = whole
    assert {f"valid_dice_{name.replace(' ', '_')}" for name in ORGANS} <= set(history)
    assert history.valid_dice.between(0, 1).all()


def test_it_learns():
    task = load_segmentation("phantom", "", size=32, samples=12)
    torch.manual_seed(0)
    model = UNet((8, 8, 16, 16, 16), num_classes=9, in_chans=1)
    recipe, options = replace(EVIT_UNET, epochs=40, batch_size=6, lr=2e-2), {"loss": task.loss, "metrics": task.metrics}
    before = evaluate(model, task.train, **options)["dice"]
    history = fit(model, task.train, task.valid, recipe, best="valid_dice", progress=False, **options)
    assert history.train_loss.iloc[-1] < 0.5 * history.train_loss.iloc[0]
    assert before < 0.1 < 0.2 < evaluate(model, task.train, **options)["dice"]
    assert evaluate(history.best, task.valid, **options)["dice"] == pytest.approx(history.valid_dice.max(), abs=1e-6)
