"""Checkpoints: a folder that is either whole or not there.

A checkpoint has ``model.safetensors`` (and ``ema.safetensors``, and ``best.safetensors``, the weights of the best epoch
so far), which any program can read; ``optimiser.pt``, which ``torch.load(weights_only=True)`` reads; and ``run.json``:
the recipe, the position in the run and the history. It is written under another name and renamed when it is complete,
and only then the one before it is removed: a process that is killed while it writes leaves the older checkpoint as it
was.
"""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from stitchwork.training.distillation import Taught
from stitchwork.training.objectives import Loss
from stitchwork.training.recipe import Recipe

# What all runs had before a checkpoint said so.
BEFORE = {"schedule": "cosine", "best": None}
NUMBERS = bool | int | float | str | list | tuple | dict | None  # what ``repr`` writes the same way in every process


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint in ``folder``."""
    return max(folder.glob("step-*"), default=None)


def save(folder: Path, networks: dict[str, nn.Module], states: dict, run: dict) -> Path:
    """Write one checkpoint and remove those before it.

    Args:
        folder: where the checkpoints of this run are; made if it does not exist.
        networks: for each name, such as ``"model"``, the network whose weights to keep.
        states: of optimiser and loss scaler.
        run: what :func:`load` gives back: position, history and identity, as plain numbers, strings and lists.
    """
    target = folder / f"step-{run['step']:09d}-epoch-{len(run['rows']):05d}"
    if target.exists():  # the same step of the same run: there is nothing new in it
        return target
    unfinished = folder / f".{target.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, network in networks.items():
        save_model(network, str(unfinished / f"{name}.safetensors"))
    torch.save(states, unfinished / "optimiser.pt")
    (unfinished / "run.json").write_text(json.dumps(run, indent=1), encoding="utf-8")
    older = list(folder.glob("step-*"))
    os.replace(unfinished, target)
    for path in older:
        shutil.rmtree(path)
    return target


def load(path: Path, networks: dict[str, nn.Module], identity: dict) -> tuple[dict, dict]:
    """Put a checkpoint's weights into ``networks``.

    Returns:
        The states of optimiser and loss scaler, and ``run`` as it was saved.

    Raises:
        ValueError: the checkpoint is of another recipe, model or dataset (the message names what differs), or a file
            of it is damaged.
    """
    try:
        run = json.loads((path / "run.json").read_text(encoding="utf-8"))
        then = BEFORE | {"loss": identity["loss"]} | run["identity"]  # of the loss, older checkpoints say nothing
        differences = _differences(then, identity)
        for name, network in networks.items():
            differences += [] if differences else _weight_differences(path / f"{name}.safetensors", network)
        if differences:
            raise ValueError(
                f"{path} is the checkpoint of another run: {'; '.join(differences)}. Resume with what it was made "
                "with, or start anew in an empty checkpoint_dir"
            )
        for name, network in networks.items():
            load_model(network, path / f"{name}.safetensors")
        return torch.load(path / "optimiser.pt", map_location="cpu", weights_only=True), run
    except (OSError, SafetensorError, json.JSONDecodeError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): remove it to start anew, or restore it") from error


def describe_run(
    model: nn.Module, recipe: Recipe, samples: int, best: str | None = None, loss: Loss | None = None
) -> dict:
    """What must be the same for a resume to continue the same run."""
    numbers = asdict(recipe)
    for key, value in (numbers.pop("progressive") or {}).items():
        numbers[f"progressive.{key}"] = list(value) if isinstance(value, tuple) else value  # as JSON gives it back
    what = {"model": type(model).__name__, "training samples": samples, "best": best}
    return what | {"loss": _in_words(model.distillation if isinstance(model, Taught) else loss), **numbers}


def _in_words(value: object) -> str:
    """A loss by its name, its numbers and its parts, which are written likewise."""
    if isinstance(value, nn.Module):
        parts = {name: part for name, part in vars(value).items() if not name.startswith("_") and name != "training"}
        parts |= {**dict(value.named_buffers(recurse=False)), **dict(value.named_children())}
        return f"{type(value).__name__}({', '.join(f'{name}={_in_words(part)}' for name, part in parts.items())})"
    if isinstance(value, Tensor):
        return str(value.tolist())
    return repr(value) if isinstance(value, NUMBERS) else getattr(value, "__qualname__", type(value).__name__)


def _differences(then: dict, now: dict) -> list[str]:
    keys = [*now, *(key for key in then if key not in now)]
    return [f"{k} was {then.get(k)!r}, now {now.get(k)!r}" for k in keys if then.get(k) != now.get(k)]


def _weight_differences(path: Path, network: nn.Module) -> list[str]:
    """The first weight that the file has otherwise than the network."""
    with safe_open(path, "pt") as file:
        then = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    now = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    shared = network.state_dict(keep_vars=True)
    storages = {shared[name].data_ptr() for name in then if name in shared}
    for name, shape in now.items():
        tied = name not in then and shared[name].data_ptr() in storages  # a tied weight is kept once
        if not tied and then.get(name) != shape:
            return [f"weight {name} was {then.get(name, 'not there')}, now {shape}"]
    extra = [name for name in then if name not in now]
    return [f"weight {extra[0]} was {then[extra[0]]}, now not there"] if extra else []
