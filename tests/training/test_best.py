"""The weights of the best epoch are kept, exactly, whatever stops the run."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torchmetrics import Metric

from stitchwork.training import Recipe, TrainingInterrupted, evaluate, fit
from stitchwork.training import checkpoint as checkpoints
from stitchwork.training.run import best_epoch

from .helpers import network, same_weights, samples
from .test_resume import Trap, press_ctrl_c

RECIPE = Recipe(epochs=4, batch_size=8, lr=0.01, ema=0.9)  # 6 steps an epoch
VALID = samples(20, seed=1)


class Wave(Metric):
    """A score that goes up and down as the network trains."""

    def __init__(self):
        super().__init__()
        self.add_state("value", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, output, target):
        self.value = torch.sin(40 * output.sum())

    def compute(self):
        return {"wave": self.value}


def run(folder=None, model=None, recipe=RECIPE, best="valid_wave", resume=True, **kwargs):
    model = Trap(network(), -1, None) if model is None else model
    options = {"metrics": Wave(), "best": best, "progress": False}
    if folder is not None:
        options |= {"checkpoint_dir": folder, "resume": resume}
    return model, fit(model, samples(), VALID, recipe, **options, **kwargs)


@pytest.mark.parametrize("best", ["valid_wave", "valid_loss", "ema_wave", "ema_loss"])
def test_the_weights_are_those_of_the_best_epoch(best):
    """Measured again, they have that epoch's score, and it is the best of all."""
    model, history = run(best=best)
    column = -history[best] if best.endswith("loss") else history[best]
    assert history.best_epoch == 1 + column.argmax() == best_epoch(history.to_dict("records"), best)
    again = evaluate(history.best, VALID, metrics=Wave(), batch_size=8)
    score = best.split("_")[1]
    assert again[score] == pytest.approx(history[best][history.best_epoch - 1], abs=1e-6)
    assert column.nunique() == 4, "the epochs differ"
    assert not history.best.training and history.best is not model


def test_the_best_is_not_always_the_last():
    histories = [run(recipe=replace(RECIPE, seed=seed))[1] for seed in range(3)]
    assert any(history.best_epoch < 4 for history in histories)


@pytest.mark.parametrize("step", [1, 6, 7, 13, 24])
@pytest.mark.parametrize("best", ["valid_wave", "ema_wave"])
def test_ctrl_c_and_resume(tmp_path, step, best):
    model, expected = run(tmp_path / "whole", best=best)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path / "parts", Trap(network(), step, press_ctrl_c), best=best)
    again, history = run(tmp_path / "parts", Trap(network(seed=9), -1, None), best=best)
    assert same_weights(model, again) and same_weights(expected.best, history.best)
    assert expected.best_epoch == history.best_epoch
    assert expected.drop(columns="seconds").equals(history.drop(columns="seconds"))


def test_killed_while_the_best_is_written(tmp_path, monkeypatch):
    _, expected = run(tmp_path / "whole")
    calls = []

    def dying(original, network, path):
        calls.append(path)
        if Path(path).stem == "best" and len(calls) > 3:
            raise SystemExit
        return original(network, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_model", partial(dying, checkpoints.save_model))
        with pytest.raises(SystemExit):
            run(tmp_path / "killed")
    assert checkpoints.newest(tmp_path / "killed").name == "step-000000006-epoch-00001"
    _, history = run(tmp_path / "killed", Trap(network(seed=9), -1, None))
    assert same_weights(expected.best, history.best) and expected.best_epoch == history.best_epoch


def test_the_folder_has_the_best(tmp_path):
    _, history = run(tmp_path)
    path = checkpoints.newest(tmp_path)
    assert {file.name for file in path.iterdir()} == {
        *("model.safetensors", "ema.safetensors", "best.safetensors", "optimiser.pt", "run.json")
    }
    saved = load_file(path / "best.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in history.best.state_dict().items())


def test_without_it_nothing_is_kept(tmp_path):
    _, history = run(tmp_path, best=None)
    assert history.best is None and history.best_epoch is None
    assert not (checkpoints.newest(tmp_path) / "best.safetensors").exists()


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0, 3.0, 2.0], 2), ([1.0, 3.0, 3.0], 2), ([float("nan"), 0.0], 2), ([float("nan")] * 2, 1), ([-1.0], 1)],
)
def test_which_epoch(values, expected):
    assert best_epoch([{"valid_x": value} for value in values], "valid_x") == expected
    assert best_epoch([{"valid_loss": -value} for value in values], "valid_loss") == expected


@pytest.mark.parametrize(
    ("best", "valid", "ema", "message"),
    [
        ("dice", VALID, 0.0, "must name a score of the validation, such as 'valid_loss'; got 'dice'"),
        ("valid_loss", None, 0.0, "needs a validation dataset"),
        ("ema_loss", VALID, 0.0, "set the recipe's ema"),
        ("valid_dice", VALID, 0.0, "is no score of this validation, which has valid_loss, valid_accuracy"),
    ],
)
def test_refusals(best, valid, ema, message):
    with pytest.raises(ValueError, match=message):
        fit(network(), samples(), valid, replace(RECIPE, ema=ema), best=best, progress=False)


def test_another_score_is_another_run(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match="best was 'valid_wave', now 'valid_loss'"):
        run(tmp_path, best="valid_loss")


def test_a_checkpoint_from_before_there_were_schedules(tmp_path):
    """It goes on under what it had, and says what differs otherwise."""
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, Trap(network(), 7, press_ctrl_c), best=None)
    path = checkpoints.newest(tmp_path) / "run.json"
    content = json.loads(path.read_text())
    del content["identity"]["schedule"], content["identity"]["best"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="another run: best was None, now 'valid_wave'"):
        run(tmp_path)
    with pytest.raises(ValueError, match="another run: schedule was 'cosine', now 'poly'"):
        run(tmp_path, recipe=replace(RECIPE, schedule="poly"), best=None)
    model, _ = run(tmp_path, Trap(network(seed=9), -1, None), best=None)
    assert same_weights(model, run(best=None)[0])
