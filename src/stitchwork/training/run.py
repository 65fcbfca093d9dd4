"""One step of training, and the state between two steps."""

import copy
import math
from dataclasses import asdict

import torch
from accelerate import Accelerator
from accelerate.utils import convert_to_fp32
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset

from stitchwork.training.evaluation import autocast
from stitchwork.training.history import History
from stitchwork.training.interrupt import StopFlag
from stitchwork.training.objectives import Loss, check_scalar, mixup, training_loss
from stitchwork.training.randomness import seed_everything
from stitchwork.training.recipe import Recipe
from stitchwork.training.schedule import learning_rate


class Run:
    """The state of a run between two steps: all that changes, and all that a checkpoint must hold."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        recipe: Recipe,
        loss: Loss | None,
        steps: int,
        stop: StopFlag,
        home: torch.device,
        best: str | None = None,
    ):
        self.accelerator, self.recipe, self.steps, self.stop, self.home = accelerator, recipe, steps, stop, home
        self.loss = training_loss(loss, recipe.label_smoothing)
        self.ema = AveragedModel(model, multi_avg_fn=_warm_ema(recipe.ema), use_buffers=True) if recipe.ema else None
        self.networks = {"model": model} | ({"ema": self.ema.module} if self.ema else {})
        self.best = best
        if best:
            self.networks["best"] = copy.deepcopy(model)
        self.model, self.network = model, accelerator.prepare_model(model)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = _optimiser(self.parameters, recipe)
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=recipe.precision == "fp16")
        self.buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        self.step, self.loss_sum, self.seconds, self.rows = 0, 0.0, 0.0, []

    def take_step(self, x: Tensor, y: Tensor) -> bool:
        """One step of the optimiser; returns whether some process was asked to stop.

        Raises:
            FloatingPointError: loss or gradient is not finite; nothing has been changed.
        """
        recipe, device = self.recipe, self.accelerator.device
        stage = recipe.stage(self.step // (self.steps // recipe.epochs))
        lr = learning_rate(self.step, self.steps, recipe.lr, recipe.warmup, recipe.schedule)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        for buffer, kept in self.buffers:
            kept.copy_(buffer)
        seed_everything(recipe.seed, "step", self.step, self.accelerator.process_index)
        loss_of = self.loss
        if stage and stage.dropout is not None:
            self.model.dropout = stage.dropout
        if alpha := stage.mixup if stage else recipe.mixup:
            x, loss_of = mixup(x, y, alpha, loss_of)

        with autocast(device, recipe.precision):
            output = self.network(x)
        loss = check_scalar(loss_of(convert_to_fp32(output), y))
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.parameters, recipe.clip_norm or math.inf)

        report = torch.stack([loss.detach(), norm, loss.new_tensor(float(self.stop.raised))])
        loss_value, norm_value, stopped = self.accelerator.reduce(report, "mean").tolist()
        overflow_is_handled = self.scaler.is_enabled()  # the scaler leaves a step with an infinite gradient out
        if not math.isfinite(loss_value) or not (math.isfinite(norm_value) or overflow_is_handled):
            for buffer, kept in self.buffers:
                buffer.copy_(kept)
            raise FloatingPointError(_explain(self.step, lr, loss_value, norm_value, x))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.ema:
            self.ema.update_parameters(self.model)
        self.step += 1
        self.loss_sum += loss_value
        return stopped > 0

    def end_epoch(self, scores: dict[str, float], seconds: float) -> None:
        """Write the epoch's row of the history."""
        epoch, recipe = len(self.rows) + 1, self.recipe
        lr = learning_rate(self.step - 1, self.steps, recipe.lr, recipe.warmup, recipe.schedule)
        loss = self.loss_sum / (self.steps // recipe.epochs)
        row = {"epoch": epoch, "step": self.step, "lr": lr}
        if stage := recipe.stage(epoch - 1):
            row |= {key: value for key, value in asdict(stage).items() if value is not None}
        self.rows.append(row | {"train_loss": loss, **scores, "seconds": self.seconds + seconds})
        self.loss_sum, self.seconds = 0.0, 0.0
        if self.best and best_epoch(self.rows, self.best) == epoch:
            chosen = self.networks["ema" if self.best.startswith("ema_") else "model"]
            self.networks["best"].load_state_dict(chosen.state_dict())

    @property
    def position(self) -> dict:
        """How far the run is."""
        return {"step": self.step, "loss_sum": self.loss_sum, "seconds": self.seconds, "rows": self.rows}

    def states(self) -> dict:
        """The states of optimiser and loss scaler."""
        return {"optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict()}

    def restore(self, states: dict, run: dict) -> None:
        """Go on from a checkpoint, whose weights are in the networks already."""
        self.optimiser.load_state_dict(states["optimiser"])
        self.scaler.load_state_dict(states["scaler"])
        self.step, self.loss_sum, self.seconds, self.rows = (run[key] for key in self.position)
        if self.ema:
            self.ema.n_averaged.fill_(self.step)

    def history(self) -> History:
        """The finished epochs, and the averaged and the best network on the device that the model came from."""
        history = History(self.rows)
        history.ema = self.ema.module.to(self.home).eval() if self.ema else None
        if self.best and self.rows:
            history.best = self.networks["best"].to(self.home).eval()
            history.best_epoch = best_epoch(self.rows, self.best)
        return history


def best_epoch(rows: list[dict], score: str) -> int:
    """The first epoch with the highest score, or with the lowest loss; one that is no number counts least.

    Raises:
        ValueError: the rows have no such score.
    """
    if score not in rows[-1]:
        known = [key for key in rows[-1] if key.startswith(("valid_", "ema_"))]
        raise ValueError(f"best={score!r} is no score of this validation, which has {', '.join(known)}")
    sign = -1 if score.endswith("_loss") else 1
    values = [sign * row[score] for row in rows]
    return 1 + max(range(len(rows)), key=lambda i: -math.inf if math.isnan(values[i]) else values[i])


def check_best(score: str | None, valid: Dataset | None, recipe: Recipe) -> None:
    """Refuse a score that the history will not have.

    Raises:
        ValueError: it is none of the validation, there is none, or no average is kept.
    """
    if score is None:
        return
    if not score.startswith(("valid_", "ema_")):
        raise ValueError(f"best must name a score of the validation, such as 'valid_loss'; got {score!r}")
    if valid is None:
        raise ValueError(f"best={score!r} needs a validation dataset: pass one as valid")
    if score.startswith("ema_") and not recipe.ema:
        raise ValueError(f"best={score!r} needs averaged weights: set the recipe's ema, such as 0.999")


def _optimiser(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay for matrices and kernels only; a bias or a scale that is pulled to zero does no good."""
    if not parameters:
        raise ValueError("the model has no parameter with requires_grad: there is nothing to train")
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.lr)


def _warm_ema(decay: float):
    """The update of the moving average; its decay grows with the number of steps, up to ``decay``."""

    def update(averaged, current, steps):
        get_ema_multi_avg_fn(min(decay, (1 + steps.item()) / (10 + steps.item())))(averaged, current, steps)

    return update


def _explain(step: int, lr: float, loss: float, norm: float, x: Tensor) -> str:
    """What went wrong at a step, and what to try."""
    if x.is_floating_point() and not x.isfinite().all():
        advice = "the input of this batch has values that are not finite: look at the data"
    else:
        advice = "try a lower lr, a longer warmup or a smaller clip_norm, or precision 'bf16' or 'no' for 'fp16'"
    return (
        f"step {step + 1}: loss {loss}, gradient norm {norm}, at lr {lr:.3g}: {advice}. The model has the weights from "
        f"before this step"
    )
