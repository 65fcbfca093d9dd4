"""A run that was stopped, in whatever way, goes on to the very bits of the run that was not."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from stitchwork.training import Recipe, TrainingInterrupted, fit
from stitchwork.training import checkpoint as checkpoints

from .helpers import Noisy, network, same_weights, samples

RECIPE = Recipe(epochs=3, batch_size=8, lr=0.01, ema=0.9, mixup=0.2, label_smoothing=0.1)  # 6 steps an epoch
VALID = samples(20, seed=1)


def run(folder, model=None, recipe=RECIPE, train=None, resume=True, **kwargs):
    model = network() if model is None else model
    train = samples() if train is None else train
    history = fit(model, train, VALID, recipe, checkpoint_dir=folder, resume=resume, progress=False, **kwargs)
    return model, history


class Trap(nn.Module):
    """Does something when the network is called for the n-th time in training."""

    def __init__(self, inner, n, action):
        super().__init__()
        self.inner, self.left, self.action = inner, n, action

    def forward(self, x):
        if self.training:
            self.left -= 1
            if self.left == 0:
                self.action()
        return self.inner(x)


@pytest.fixture(autouse=True)
def listening_to_ctrl_c():
    """Python's own handler, also where the tests run in the background, whose processes ignore Ctrl-C."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def contents(folder):
    """Weights, optimiser and run of the only checkpoint in a folder."""
    (path,) = folder.iterdir()
    return path, torch.load(path / "optimiser.pt", weights_only=True)


def same_states(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_states(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_states, a, b))
    return a == b


def assert_same(one, other):
    (model, history), (again, history_again) = one, other
    assert same_weights(model, again)
    assert (history.ema is None) == (history_again.ema is None)
    assert history.ema is None or same_weights(history.ema, history_again.ema)
    assert history.drop(columns="seconds").equals(history_again.drop(columns="seconds"))


@pytest.mark.parametrize("step", [1, 6, 7, 10, 17, 18])
@pytest.mark.parametrize(
    "change", [{}, {"optimiser": "sgd", "ema": 0.0, "precision": "fp16"}, {"schedule": "poly", "warmup": 0.0}]
)
def test_ctrl_c_and_resume(tmp_path, step, change):
    recipe = replace(RECIPE, **change)
    whole = Trap(network(), -1, None)
    expected = run(tmp_path / "whole", whole, recipe)
    stopped = Trap(network(), step, press_ctrl_c)
    with pytest.raises(TrainingInterrupted, match=f"step {step} of 18|last step") as interrupt:
        run(tmp_path / "parts", stopped, recipe)
    assert len(interrupt.value.history) == (step - 1) // 6 if step < 18 else 3
    saved = load_file(contents(tmp_path / "parts")[0] / "model.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in stopped.state_dict().items())
    resumed = run(tmp_path / "parts", Trap(network(seed=9), -1, None), recipe)
    assert_same(expected, resumed)
    ours, theirs = contents(tmp_path / "parts"), contents(tmp_path / "whole")
    assert ours[0].name == theirs[0].name and same_states(ours[1], theirs[1])


def test_stopped_again_and_again(tmp_path):
    expected = run(tmp_path / "whole", Trap(network(), -1, None))
    for _ in range(6):
        with pytest.raises(TrainingInterrupted):
            run(tmp_path / "parts", Trap(network(), 3, press_ctrl_c))
    assert_same(expected, run(tmp_path / "parts", Trap(network(), -1, None)))


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_with_random_augmentation(tmp_path, workers):
    expected = run(tmp_path / "whole", Trap(network(), -1, None), train=Noisy())
    with pytest.raises(TrainingInterrupted):
        run(tmp_path / "parts", Trap(network(), 9, press_ctrl_c), train=Noisy(), workers=workers)
    assert_same(expected, run(tmp_path / "parts", Trap(network(), -1, None), train=Noisy(), workers=workers))


def test_without_a_folder_the_weights_and_the_history_are_kept():
    model = Trap(network(), 8, press_ctrl_c)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        fit(model, samples(), VALID, RECIPE, progress=False)
    assert interrupt.value.history.epoch.tolist() == [1]
    assert not same_weights(model.inner, network())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_finished_run_is_not_run_again(tmp_path):
    first = run(tmp_path)
    assert_same(first, run(tmp_path, network(seed=9)))


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def twice():
        press_ctrl_c()
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt) as interrupt:
        run(tmp_path, Trap(network(), 9, twice))
    assert not isinstance(interrupt.value, TrainingInterrupted)
    assert checkpoints.newest(tmp_path).name.startswith("step-000000006-")


@pytest.mark.parametrize(
    ("what", "count"), [("save_model", 3), ("torch.save", 2), ("os.replace", 2), ("json.dumps", 2)]
)
def test_killed_while_writing(tmp_path, monkeypatch, what, count):
    """Whatever the second checkpoint's writing stops at, the first is whole, and the run goes on from it."""
    calls = []

    def dying(original, *args, **kwargs):
        calls.append(args)
        if len(calls) == count:
            raise SystemExit
        return original(*args, **kwargs)

    *owner, name = what.split(".")
    owner = getattr(checkpoints, owner[0]) if owner else checkpoints
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, partial(dying, getattr(owner, name)))
        with pytest.raises(SystemExit):
            run(tmp_path / "killed")
    assert checkpoints.newest(tmp_path / "killed").name == "step-000000006-epoch-00001"
    assert_same(run(tmp_path / "whole"), run(tmp_path / "killed", network(seed=9)))
    assert len(list((tmp_path / "killed").iterdir())) == 1


def test_killed_before_the_older_one_is_removed(tmp_path, monkeypatch):
    run(tmp_path)
    shutil.copytree(checkpoints.newest(tmp_path), tmp_path / "step-000000012-epoch-00002")
    assert checkpoints.newest(tmp_path).name == "step-000000018-epoch-00003"


def test_sigkill_at_any_time(tmp_path):
    """The real thing: a process that trains in a loop of tiny epochs is killed with SIGKILL."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        import torch
        from stitchwork.training import Recipe, fit
        from torch.utils.data import TensorDataset
        data = TensorDataset(torch.randn(8, 4), torch.arange(8) % 2)
        print("ready", flush=True)
        recipe = Recipe(epochs=100_000, batch_size=8)
        fit(torch.nn.Linear(4, 2), data, recipe=recipe, checkpoint_dir=sys.argv[1], resume=True, progress=False)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    while not (found := checkpoints.newest(tmp_path)) or int(found.name[5:14]) < 20:
        assert process.poll() is None
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
    process.stdout.close()
    path = checkpoints.newest(tmp_path)
    assert load_file(path / "model.safetensors")["weight"].shape == (2, 4)
    assert torch.load(path / "optimiser.pt", weights_only=True)["optimiser"]["state"][0]["step"] == int(path.name[5:14])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to be handled")
def test_sigterm_is_a_request_to_stop(tmp_path):
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, Trap(network(), 2, lambda: signal.raise_signal(signal.SIGTERM)))
    assert checkpoints.newest(tmp_path).name.startswith("step-000000002-")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recipe": replace(RECIPE, lr=0.02, epochs=4)}, r"epochs was 3, now 4; lr was 0\.01, now 0\.02"),
        ({"recipe": replace(RECIPE, ema=0.0)}, r"ema was 0\.9, now 0\.0"),
        ({"recipe": replace(RECIPE, schedule="poly")}, "schedule was 'cosine', now 'poly'"),
        ({"train": samples(51)}, "training samples was 50, now 51"),
        ({"model": network(width=9)}, r"weight 0\.bias was \(8,\), now \(9,\)|weight 0\.weight was \(8, 6\)"),
        ({"model": nn.Linear(6, 3)}, "model was 'Sequential', now 'Linear'"),
        ({"model": nn.Sequential(*network(), nn.Linear(3, 3))}, r"weight 5\.weight was not there, now \(3, 3\)"),
        ({"model": network()[:-1]}, r"weight 4\.\w+ was .*, now not there"),
    ],
)
def test_another_run_is_refused_and_changes_nothing(tmp_path, change, named):
    run(tmp_path)
    model = change.get("model") or network(seed=4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"checkpoint of another run: .*{named}"):
        run(tmp_path, **{**change, "model": model})
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_folder_with_a_checkpoint_is_not_overwritten(tmp_path):
    run(tmp_path)
    with pytest.raises(FileExistsError, match="resume=True"):
        run(tmp_path, resume=False)


def test_resume_needs_a_folder():
    with pytest.raises(ValueError, match="checkpoint_dir"):
        run(None)


@pytest.mark.parametrize("file", ["model.safetensors", "optimiser.pt", "run.json"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_checkpoint(tmp_path, file, damage):
    run(tmp_path)
    path = checkpoints.newest(tmp_path) / file
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"step-000000018-epoch-00003 cannot be read"):
        run(tmp_path)


def test_tied_weights(tmp_path):
    def tied():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
        model[1].weight = model[0].weight
        return model

    expected = run(tmp_path / "a", tied())
    assert_same(expected, run(tmp_path / "a", tied()))


@pytest.mark.parametrize("kind", ["input", "loss", "gradient"])
def test_nothing_is_lost_when_the_loss_is_not_finite(tmp_path, kind):
    data = samples()
    steps = {"input": 7, "loss": 4, "gradient": 4}[kind]

    class Spoil(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    calls = []

    def loss(output, target):
        calls.append(1)
        if len(calls) == steps and kind == "loss":
            return F.cross_entropy(output, target) + float("nan")
        return F.cross_entropy(Spoil.apply(output) if len(calls) == steps and kind == "gradient" else output, target)

    recipe = replace(RECIPE, mixup=0.0, label_smoothing=0.0, epochs=1 if kind == "input" else 3)
    if kind == "input":
        data = samples(50)
        data.tensors[0][0, 0] = float("nan")
    model = network()
    good = {}

    def remember(module, _args):
        if module.training:
            good.update({key: value.clone() for key, value in module.state_dict().items()})

    model.register_forward_pre_hook(remember)
    with pytest.raises(FloatingPointError) as error:
        fit(model, data, VALID, recipe, loss=loss, checkpoint_dir=tmp_path, progress=False)
    message = str(error.value)
    assert f"step {len(calls)}:" in message and "at lr" in message and str(tmp_path) in message
    assert ("look at the data" if kind == "input" else "a lower lr") in message
    assert all(torch.equal(good[key], value) for key, value in model.state_dict().items())
    saved = load_file(checkpoints.newest(tmp_path) / "model.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in model.state_dict().items())
    assert all(torch.isfinite(value).all() for value in saved.values())
