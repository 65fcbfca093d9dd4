"""What a training run is made of: every number that decides its result, in one frozen object."""

import math
from dataclasses import dataclass

from stitchwork.training.progressive import Progressive, Stage
from stitchwork.training.schedule import SCHEDULES

PRECISIONS = ("no", "bf16", "fp16")
OPTIMISERS = ("adamw", "sgd")


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training run. Model, data and recipe together decide the result.

    Args:
        epochs: passes over the training data.
        batch_size: samples of a step **over all processes together**; the samples that do not fill a last batch are
            left out of the epoch (others in the next one, because the order changes).
        lr: highest learning rate, reached at the end of the warm-up.
        weight_decay: for weights of two and more axes; biases and normalisations have none.
        warmup: share of all steps in which the learning rate rises linearly, 0 to 1; then it falls to 0.
        clip_norm: longest gradient (2-norm over all parameters); a longer one is shortened to it. ``None``: no limit.
        label_smoothing: share of the target that is spread evenly over all classes (szegedy2016rethinking).
        mixup: alpha of the Beta distribution that blends pairs of samples (zhang2018mixup); 0 blends none.
        ema: decay of the moving average of the weights; 0 keeps none. It starts lower, at (1 + n) / (10 + n) for the
            n-th step, so that the average forgets the initial weights also in a short run.
        precision: ``"no"`` (float32), or autocast to ``"bf16"`` or ``"fp16"`` (with a scaled loss).
        seed: decides the order of the samples, mixup, dropout and augmentation; the initial weights are the model's.
        optimiser: ``"adamw"``, or ``"sgd"`` with Nesterov momentum 0.9.
        schedule: how the learning rate falls: as a ``"cosine"``, or as ``"poly"``, (1 - t)^0.9 for t from 0 to 1.
        progressive: image size and regularisation that grow by stages (tan2021efficientnetv2); without it, the images
            stay as they are.

    Raises:
        ValueError: a value out of range; the message names it and what is allowed.
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip_norm: float | None = 1.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema: float = 0.0
    precision: str = "no"
    seed: int = 0
    optimiser: str = "adamw"
    schedule: str = "cosine"
    progressive: Progressive | None = None

    def __post_init__(self):
        """Refuse values out of range."""
        self._require("epochs", isinstance(self.epochs, int) and self.epochs >= 1, "a whole number, at least 1")
        whole = isinstance(self.batch_size, int) and self.batch_size >= 1
        self._require("batch_size", whole, "a whole number, at least 1")
        self._require("lr", 0 < self.lr < math.inf, "greater than 0 and finite")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "0 or greater, and finite")
        self._require("warmup", 0 <= self.warmup <= 1, "a share of the steps, between 0 and 1")
        self._require("clip_norm", self.clip_norm is None or self.clip_norm > 0, "greater than 0, or None")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and less than 1")
        self._require("mixup", 0 <= self.mixup < math.inf, "0 (off) or greater, and finite")
        self._require("ema", 0 <= self.ema < 1, "0 (off) or less than 1, such as 0.999")
        self._require("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        self._require("seed", isinstance(self.seed, int), "a whole number")
        self._require("optimiser", self.optimiser in OPTIMISERS, f"one of {', '.join(OPTIMISERS)}")
        self._require("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}")
        if self.progressive is not None:
            self._require("progressive", isinstance(self.progressive, Progressive), "a Progressive, or None")
            self._require("mixup", self.mixup == 0, "0 where progressive has a mixup of its own")
            self.stage(0)  # which refuses more stages than epochs

    def stage(self, epoch: int) -> Stage | None:
        """What the images, the mixup and the dropout are in an epoch, 0 to ``epochs - 1``; ``None`` without stages."""
        return self.progressive.at(epoch, self.epochs) if self.progressive else None

    def _require(self, name: str, fine: bool, allowed: str) -> None:
        if not fine:
            raise ValueError(f"Recipe: {name} must be {allowed}; got {getattr(self, name)!r}")
