"""Progressive learning: the schedule of the paper's table, and a run that can be stopped anywhere."""

import signal
import sys
from dataclasses import astuple, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from stitchwork.layers import Classifier
from stitchwork.training import (
    EFFICIENTNET_V2_L,
    EFFICIENTNET_V2_M,
    EFFICIENTNET_V2_S,
    Progressive,
    Recipe,
    TrainingInterrupted,
    evaluate,
    fit,
)
from stitchwork.training import checkpoint as checkpoints
from stitchwork.training.progressive import Stage

from .helpers import network, same_weights, samples

SCHEDULE = Progressive(3, image_size=(8, 16), randaugment=(3, 9), mixup=(0.0, 0.4), dropout=(0.1, 0.5))
RECIPE = Recipe(epochs=3, batch_size=8, lr=0.01, ema=0.9, progressive=SCHEDULE)  # 3 steps an epoch


class Small(Classifier):
    """Whatever the size of its images; it notes what it is given in training."""

    def __init__(self, seed: int = 0, stop_at: int = 0):
        torch.manual_seed(seed)
        super().__init__(1, 4, dropout=0.25)
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.reset_head(3)
        self.seen, self.tested, self.stop_at, self.action = [], [], stop_at, signal.raise_signal

    def forward_features(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append((tuple(x.shape[2:]), self.dropout, x.clone()))
            if len(self.seen) == self.stop_at:
                self.action(signal.SIGINT)
        else:
            self.tested.append(tuple(x.shape[2:]))
        return self.features(x)


def images(n: int = 27, size: int = 16, channels: int = 1, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.rand(n, channels, size, size, generator=generator), torch.arange(n) % 3)


class Listed(Dataset):
    """The same images one by one, with an augmentation of their own."""

    def __init__(self, data: TensorDataset):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i: int):
        x, y = self.data[i]
        return (x.flip(-1) if torch.rand(()) < 0.5 else x), y


def run(model, recipe=RECIPE, data=None, valid=None, **kwargs):
    return fit(model, images() if data is None else data, valid, recipe, progress=False, **kwargs)


@pytest.fixture(autouse=True)
def listening_to_ctrl_c():
    """Python's own handler, also where the tests run in the background, whose processes ignore Ctrl-C."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


# The schedule


@pytest.mark.parametrize(
    ("schedule", "rows"),
    [
        # by hand: the table's ends, and its thirds: 128 + 172/3 = 185.3, 128 + 344/3 = 242.7; 5 + 10/3, 5 + 20/3; ...
        (EFFICIENTNET_V2_S, [(128, 5, 0, 0.1), (184, 8, 0, 1 / 6), (244, 12, 0, 7 / 30), (300, 15, 0, 0.3)]),
        (EFFICIENTNET_V2_M, [(128, 5, 0, 0.1), (212, 10, 1 / 15, 0.2), (296, 15, 2 / 15, 0.3), (380, 20, 0.2, 0.4)]),
        (
            EFFICIENTNET_V2_L,
            [(128, 5, 0, 0.1), (212, 12, 1 / 6, 7 / 30), (296, 18, 1 / 3, 11 / 30), (380, 25, 0.5, 0.5)],
        ),
    ],
)
def test_the_papers_table(schedule, rows):
    for stage, row in enumerate(rows):
        first = schedule.at(stage * 10, 40)
        assert astuple(first) == pytest.approx(row)
        assert schedule.at(stage * 10 + 9, 40) == first
    assert astuple(schedule.at(0, 4)) == rows[0] and astuple(schedule.at(3, 4)) == rows[-1]  # the ends to the last bit


def test_stages_of_equal_length_to_within_one_epoch():
    sizes = [Progressive(image_size=(4, 16), randaugment=(0, 0)).at(epoch, 10).image_size for epoch in range(10)]
    assert sizes == [4, 4, 4, 8, 8, 12, 12, 12, 16, 16]


def test_the_ends_stay_and_what_is_between_is_a_multiple_of_four():
    schedule = Progressive(5, image_size=(9, 31))
    assert [schedule.at(i, 5).image_size for i in range(5)] == [9, 16, 20, 24, 31]
    assert [Progressive(3, image_size=(1, 2)).at(i, 3).image_size for i in range(3)] == [1, 4, 2]


def test_a_single_stage_has_the_last_values():
    assert replace(EFFICIENTNET_V2_L, stages=1).at(0, 7) == Stage(380, 25, 0.5, 0.5)


def test_the_schedule_for_another_size():
    assert EFFICIENTNET_V2_S.for_size(300) == EFFICIENTNET_V2_S
    assert EFFICIENTNET_V2_S.for_size(32) == replace(EFFICIENTNET_V2_S, image_size=(12, 32))  # 13.65 -> 12
    assert EFFICIENTNET_V2_M.for_size(4).image_size == (4, 4)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("stages", 0),
        ("stages", 2.0),
        ("image_size", (0, 8)),
        ("image_size", (8.0, 16)),
        ("image_size", 32),
        ("randaugment", (-1, 5)),
        ("randaugment", (5, 31)),
        ("mixup", (0.0, -0.1)),
        ("mixup", (0.0, float("inf"))),
        ("dropout", (0.1, 1.0)),
        ("dropout", (0.1, 0.2, 0.3)),
    ],
)
def test_a_bad_value_is_named(argument, value):
    with pytest.raises(ValueError) as error:
        Progressive(**{argument: value})
    assert argument in str(error.value) and f"got {value!r}" in str(error.value)


@pytest.mark.parametrize(("epoch", "epochs", "words"), [(4, 4, "0 to 3"), (-1, 4, "0 to 3"), (0, 3, "4 epochs; got 3")])
def test_an_epoch_that_does_not_exist(epoch, epochs, words):
    with pytest.raises(ValueError, match=words):
        EFFICIENTNET_V2_S.at(epoch, epochs)


def test_the_recipe_refuses_what_does_not_go_together():
    with pytest.raises(ValueError, match=r"mixup must be 0 where progressive.*got 0\.2"):
        Recipe(mixup=0.2, progressive=SCHEDULE)
    with pytest.raises(ValueError, match="4 stages need at least 4 epochs; got 3"):
        Recipe(epochs=3, progressive=EFFICIENTNET_V2_S)
    with pytest.raises(ValueError, match="progressive must be a Progressive"):
        Recipe(progressive="s")


# The images of a stage


def test_resize_is_bilinear_with_antialias_and_leaves_what_fits():
    x, y = images(4).tensors
    small, labels = Stage(8, 0, 0.0, None).resize(x, y)
    # Half the size: a triangle over four pixels, of weights 1, 3, 3, 1 in eighths. Without antialias, over two.
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    expected = F.conv2d(x[:, :, 1:-1, 1:-1], (weights[:, None] * weights)[None, None], stride=2)
    assert torch.allclose(small[:, :, 1:-1, 1:-1], expected, atol=1e-6)
    assert labels is y
    assert Stage(16, 0, 0.0, None).resize(x, y)[0] is x
    assert Stage(8, 0, 0.0, None).resize(x[:, :, :5], y)[0].shape == (4, 1, 8, 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_draws_its_own_operations(channels):
    stage = Stage(16, 20, 0.0, None)
    x = images(1, channels=channels).tensors[0].repeat(32, 1, 1, 1)  # 32 times the same image
    torch.manual_seed(0)
    once, _ = stage.augment(x, torch.zeros(32))
    torch.manual_seed(0)
    again, _ = stage.augment(x, torch.zeros(32))
    assert torch.equal(once, again)
    assert len({tuple(image.flatten().tolist()) for image in once}) > 16  # of 14 x 14 pairs of operations, with signs
    assert once.shape == x.shape and once.min() >= 0 and once.max() <= 1
    assert torch.equal(x, x[:1].expand_as(x))  # the data stay as they are


def test_a_greater_magnitude_changes_more():
    x, y = images(64).tensors
    smooth = F.avg_pool2d(x, 5, 1, 2)
    changes = []
    for magnitude in (0, 5, 15, 30):
        torch.manual_seed(0)
        changes.append((Stage(16, magnitude, 0.0, None).augment(smooth, y)[0] - smooth).abs().mean().item())
    assert changes[0] == 0 and changes == sorted(changes) and changes[3] > 1.5 * changes[1] > 0


def test_augmentation_is_the_same_with_any_number_of_threads():
    """A sum over more than 32,768 numbers is cut into as many parts as there are threads: here 200 x 200."""
    x, y = images(48, size=200).tensors
    results, threads = [], torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            torch.manual_seed(0)
            results.append(Stage(200, 10, 0.0, None).augment(x, y)[0])
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


# The run


def test_every_step_has_the_images_mixup_and_dropout_of_its_stage():
    model = Small()
    history = run(model, valid=images(9, size=10, seed=1))
    sizes, dropouts, _ = zip(*model.seen)
    assert sizes == ((8, 8),) * 3 + ((12, 12),) * 3 + ((16, 16),) * 3
    assert dropouts == pytest.approx((0.1,) * 3 + (0.3,) * 3 + (0.5,) * 3)
    assert model.dropout == 0.25 and history.ema.dropout == 0.25
    assert set(model.tested) == {(16, 16)}
    columns = ["image_size", "randaugment", "mixup", "dropout"]
    assert list(history)[:8] == ["epoch", "step", "lr", *columns, "train_loss"]
    rows = history[columns].to_numpy().tolist()
    assert rows == [pytest.approx(row) for row in ([8, 3, 0, 0.1], [12, 6, 0.2, 0.3], [16, 9, 0.4, 0.5])]
    enlarged = TensorDataset(*SCHEDULE.at(2, 3).resize(*images(9, size=10, seed=1).tensors))
    assert evaluate(model, enlarged, batch_size=8)["loss"] == history.valid_loss.iloc[-1]


def test_a_stage_of_one_size_and_no_regularisation_is_no_stage_at_all():
    plain, staged = Small(), Small()
    expected = run(plain, replace(RECIPE, progressive=None), valid=images(9))
    schedule = Progressive(1, (4, 16), randaugment=(9, 0), mixup=(0.4, 0.0), dropout=None)
    history = run(staged, replace(RECIPE, progressive=schedule), valid=images(9))
    assert same_weights(plain, staged)
    assert history.valid_loss.equals(expected.valid_loss)
    assert "dropout" not in history and "image_size" not in expected


def test_the_stages_mixup_is_the_recipes():
    plain, staged = Small(), Small()
    run(plain, replace(RECIPE, progressive=None, mixup=0.4))
    run(staged, replace(RECIPE, progressive=Progressive(1, (16, 16), (0, 0), (0.4, 0.4), None)))
    assert same_weights(plain, staged)
    without = Small()
    run(without, replace(RECIPE, progressive=None))
    assert not same_weights(plain, without)


@pytest.mark.parametrize("data", [images(), Listed(images())], ids=["tensors", "list"])
def test_workers_change_nothing(data):
    models = [Small(), Small()]
    histories = [
        run(model, data=data, workers=workers).drop(columns="seconds") for model, workers in zip(models, (0, 2))
    ]
    assert same_weights(*models) and histories[0].equals(histories[1])
    for (_, _, x), (_, _, y) in zip(models[0].seen, models[1].seen):
        assert torch.equal(x, y)
    other = Small()
    run(other, replace(RECIPE, seed=1), data=data)
    assert not same_weights(models[0], other)


@pytest.mark.parametrize(("step", "workers"), [(1, 0), (2, 0), (3, 0), (4, 0), (6, 0), (8, 0), (3, 2), (4, 2)])
def test_stopped_and_resumed_has_the_same_bits(tmp_path, step, workers):
    whole = Small()
    expected = run(whole, valid=images(9), checkpoint_dir=tmp_path / "whole")
    stopped = Small(stop_at=step)  # 3 and 6 end a stage
    with pytest.raises(TrainingInterrupted, match=f"step {step} of 9"):
        run(stopped, valid=images(9), checkpoint_dir=tmp_path / "parts")
    assert stopped.dropout == 0.25
    resumed = Small(seed=9)
    history = run(resumed, valid=images(9), checkpoint_dir=tmp_path / "parts", resume=True, workers=workers)
    assert same_weights(whole, resumed) and same_weights(expected.ema, history.ema)
    assert history.drop(columns="seconds").equals(expected.drop(columns="seconds"))
    states = [torch.load(checkpoints.newest(tmp_path / name) / "optimiser.pt") for name in ("whole", "parts")]
    for a, b in zip(*(state["optimiser"]["state"].values() for state in states)):
        assert all(torch.equal(a[key], b[key]) for key in a)
    for (size, dropout, x), (size_again, dropout_again, again) in zip(whole.seen[step:], resumed.seen, strict=True):
        assert size == size_again and dropout == dropout_again and torch.equal(x, again)


@pytest.mark.parametrize(
    ("schedule", "named"),
    [
        (None, r"progressive\.stages was 3, now None"),
        (replace(SCHEDULE, stages=2), r"progressive\.stages was 3, now 2\. Resume"),
        (replace(SCHEDULE, image_size=(8, 20)), r"progressive\.image_size was \[8, 16\], now \[8, 20\]\. Resume"),
        (replace(SCHEDULE, dropout=None), r"progressive\.dropout was \[0\.1, 0\.5\], now None\. Resume"),
    ],
)
def test_a_resume_with_another_schedule_is_refused_by_name(tmp_path, schedule, named):
    run(Small(), checkpoint_dir=tmp_path)
    model = Small(seed=4)
    with pytest.raises(ValueError, match=f"checkpoint of another run: .*{named}"):
        run(model, replace(RECIPE, progressive=schedule), checkpoint_dir=tmp_path, resume=True)
    assert same_weights(model, Small(seed=4)) and model.dropout == 0.25


def test_a_checkpoint_from_before_there_were_stages(tmp_path):
    """Its identity has no word of them, and it goes on as ever."""
    recipe = replace(RECIPE, progressive=None)
    run(Small(), recipe, checkpoint_dir=tmp_path)
    text = (checkpoints.newest(tmp_path) / "run.json").read_text()
    assert "progressive" not in text
    run(Small(), recipe, checkpoint_dir=tmp_path, resume=True)


def test_the_networks_own_dropout_comes_back_after_an_exception():
    def fail(_signal):
        raise RuntimeError("out of memory")

    model = Small(stop_at=5)
    model.action = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        run(model)
    assert model.seen[-1][1] == 0.3 and model.dropout == 0.25


# What is refused


def test_data_that_are_no_images():
    schedule = replace(SCHEDULE, dropout=None)
    with pytest.raises(ValueError, match=r"x must be float \(B, C, H, W\); got torch.float32 of shape \(8, 6\)"):
        fit(network(), samples(), None, replace(RECIPE, progressive=schedule), progress=False)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (TensorDataset(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), torch.zeros(9).long()), r"uint8.*x / 255"),
        (TensorDataset(torch.rand(9, 1, 8, 8), torch.zeros(9, 8, 8).long()), r"targets of shape \(8, 8, 8\)"),
        (TensorDataset(torch.randn(9, 1, 8, 8), torch.zeros(9).long()), r"images in \[0, 1\].*normalise inside"),
        (TensorDataset(torch.full((9, 1, 8, 8), torch.nan), torch.zeros(9).long()), r"images in \[0, 1\].*nan"),
        (TensorDataset(torch.rand(9, 2, 8, 8), torch.zeros(9).long()), r"1 or 3 channels; these have 2"),
    ],
)
def test_images_that_cannot_be_changed(data, words):
    model = Small()
    with pytest.raises(ValueError, match=words):
        run(model, data=data)
    assert same_weights(model, Small()) and model.dropout == 0.25


def test_normalised_images_need_no_randaugment():
    data = TensorDataset(torch.randn(9, 1, 8, 8), torch.zeros(9).long())
    run(Small(), replace(RECIPE, progressive=replace(SCHEDULE, randaugment=(0, 0))), data=data)


def test_a_network_without_a_number_for_its_dropout():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 3))
    with pytest.raises(ValueError, match=r"that of Sequential is NoneType: pass Progressive\(dropout=None\)"):
        run(model)
    model.dropout = model[1]
    with pytest.raises(ValueError, match="is Dropout"):
        run(model)


def test_without_torchvision(monkeypatch):
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.v2"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "stitchwork\[data\]", or set randaugment=\(0, 0\)'):
        run(Small())
    run(Small(), replace(RECIPE, progressive=replace(SCHEDULE, randaugment=(0, 0))))
