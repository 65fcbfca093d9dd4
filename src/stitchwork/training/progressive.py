"""Progressive learning: small images and weak regularisation first, and both grow together.

Paper: tan2021efficientnetv2, section 4 and algorithm 1. Small images train fast, but a network that sees little also
overfits little: with the regularisation of large images it learns less, and with that of small images it overfits
when they grow. So the epochs are cut into M equal stages, and stage i = 0..M-1 trains with

    value_i = first + (last - first) * i / (M - 1)

for the side of the images, the magnitude of RandAugment (cubuk2020randaugment), the alpha of mixup and the dropout.

Everything here is a function of the epoch (and of the step, which seeds the random choices): a run that is resumed,
inside a stage or between two, has the bits of the run that was not interrupted.

Where this differs: the presets are the paper's table 6. The official code leaves the dropout alone, takes (i + 1) / M
for the image size (S begins at 171), and ends at 384 pixels for M and L and at magnitudes 10, 15 and 20.
Magnitudes are torchvision's, 0 to 30, where 30 rotates by 30 degrees; the official code rotates by 30 degrees at 10.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 4  # of the sides between first and last: the greatest that all sides of the paper's table are multiples of
STRONGEST = 30  # magnitude of torchvision's RandAugment


@dataclass(frozen=True)
class Stage:
    """What the epochs of one stage train with.

    Args:
        image_size: side of the images in pixels.
        randaugment: magnitude of RandAugment; 0 applies none.
        mixup: alpha of mixup; 0 blends none.
        dropout: of the network; ``None`` leaves the network's own.
    """

    image_size: int
    randaugment: int
    mixup: float
    dropout: float | None

    def resize(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The images of a batch at this stage's size, bilinear with antialias: (B, C, H, W) -> (B, C, size, size).

        Raises:
            ValueError: no float images, or targets that would have to be resized with them.
        """
        if x.dim() != 4 or not x.is_floating_point():
            raise ValueError(
                f"progressive learning resizes images: x must be float (B, C, H, W); got {x.dtype} of shape "
                f"{tuple(x.shape)}: leave progressive out for other data, and convert uint8 images by x / 255"
            )
        if y.dim() > 2:
            raise ValueError(
                f"progressive learning resizes the images, but not targets of shape {tuple(y.shape)}: leave it out "
                "for targets that belong to pixels"
            )
        size = (self.image_size, self.image_size)
        return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", antialias=True), y

    def augment(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The images of a batch at this stage's size, each changed by two random operations of its own.

        Raises:
            ValueError: as :meth:`resize`; or images that RandAugment cannot change: values outside [0, 1], or neither
                one nor three channels.
        """
        resized, y = self.resize(x, y)
        if not self.randaugment:
            return resized, y
        low, high = (value.item() for value in x.aminmax())
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"RandAugment needs images in [0, 1]; these reach from {low:.4g} to {high:.4g}: normalise inside the "
                "network, or set randaugment=(0, 0)"
            )
        if x.shape[1] not in (1, 3):
            raise ValueError(
                f"RandAugment needs images of 1 or 3 channels; these have {x.shape[1]}: set randaugment=(0, 0)"
            )
        transform = randaugment(self.randaugment)
        with one_thread():
            return torch.stack([transform(image) for image in resized]), y


@dataclass(frozen=True)
class Progressive:
    """Image size and regularisation that grow by stages, as ``(first, last)``; ``Recipe(progressive=...)`` takes it.

    The training images become squares of the stage's size (crop them first where that distorts), and the validation
    images squares of the last size. By default the schedule of EfficientNetV2-S.

    Args:
        stages: stages of equally many epochs, to within one; a single stage has the last values.
        image_size: sides in pixels. Those between the first and the last are rounded to a multiple of 4.
        randaugment: magnitudes of RandAugment, 0 (none) to 30, rounded to whole ones; needs torchvision, and images
            with values in [0, 1].
        mixup: alphas of mixup; the recipe's own ``mixup`` must be 0.
        dropout: probabilities that ``model.dropout`` is set to, a number that all networks here have; the network gets
            its own back after the training. ``None`` leaves it alone.

    Raises:
        ValueError: a value out of range; the message names it and what is allowed.
    """

    stages: int = 4
    image_size: tuple[int, int] = (128, 300)
    randaugment: tuple[float, float] = (5, 15)
    mixup: tuple[float, float] = (0.0, 0.0)
    dropout: tuple[float, float] | None = (0.1, 0.3)

    def __post_init__(self):
        """Refuse values out of range."""
        if not (isinstance(self.stages, int) and self.stages >= 1):
            raise ValueError(f"Progressive: stages must be a whole number, at least 1; got {self.stages!r}")
        self._require("image_size", lambda v: isinstance(v, int) and v >= 1, "whole numbers of pixels, at least 1")
        self._require("randaugment", lambda v: 0 <= v <= STRONGEST, f"magnitudes from 0 to {STRONGEST}")
        self._require("mixup", lambda v: 0 <= v < float("inf"), "0 or greater, and finite")
        if self.dropout is not None:
            self._require("dropout", lambda v: 0 <= v < 1, "at least 0 and below 1; or None, to leave it alone")

    def _require(self, name: str, fine, allowed: str) -> None:
        values = getattr(self, name)
        if not (isinstance(values, tuple | list) and len(values) == 2 and all(map(fine, values))):
            raise ValueError(f"Progressive: {name} must be a pair (first, last) of {allowed}; got {values!r}")

    def at(self, epoch: int, epochs: int) -> Stage:
        """The stage that an epoch belongs to.

        Args:
            epoch: 0 to ``epochs - 1``.
            epochs: of the whole run.

        Raises:
            ValueError: there is no such epoch, or there are fewer epochs than stages.
        """
        if not 0 <= epoch < epochs:
            raise ValueError(f"Progressive: epoch must be 0 to {epochs - 1}, of {epochs} epochs; got {epoch}")
        if epochs < self.stages:
            raise ValueError(
                f"Progressive: {self.stages} stages need at least {self.stages} epochs; got {epochs}: set stages to "
                f"{epochs} or fewer"
            )
        stage = epoch * self.stages // epochs
        share = stage / (self.stages - 1) if self.stages > 1 else 1.0

        def between(pair: tuple[float, float]) -> float:
            return pair[0] * (1 - share) + pair[1] * share  # exact at both ends

        side = int(between(self.image_size))
        if 0 < share < 1:
            side = max(MULTIPLE, round(between(self.image_size) / MULTIPLE) * MULTIPLE)
        dropout = None if self.dropout is None else between(self.dropout)
        return Stage(side, round(between(self.randaugment)), between(self.mixup), dropout)

    def for_size(self, size: int) -> "Progressive":
        """The same schedule for another last side, with the same ratio of first and last."""
        first, last = self.image_size
        return replace(self, image_size=(max(MULTIPLE, round(first / last * size / MULTIPLE) * MULTIPLE), size))


EFFICIENTNET_V2_S = Progressive()
EFFICIENTNET_V2_M = Progressive(image_size=(128, 380), randaugment=(5, 20), mixup=(0.0, 0.2), dropout=(0.1, 0.4))
EFFICIENTNET_V2_L = Progressive(image_size=(128, 380), randaugment=(5, 25), mixup=(0.0, 0.5), dropout=(0.1, 0.5))


def randaugment(magnitude: int) -> nn.Module:
    """torchvision's RandAugment: two operations of fourteen, drawn from PyTorch's generator of the CPU.

    Raises:
        ModuleNotFoundError: torchvision is not installed.
    """
    try:
        from torchvision.transforms.v2 import RandAugment
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'RandAugment is torchvision\'s: pip install "stitchwork[data]", or set randaugment=(0, 0)', name=error.name
        ) from error
    return RandAugment(num_ops=2, magnitude=magnitude)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute as a worker process does, whose sums have one order: with more threads a mean has other last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def dropout_restored(model: nn.Module, progressive: Progressive | None) -> Iterator[None]:
    """Give the network its own dropout back on the way out.

    Raises:
        ValueError: the schedule sets the dropout, and the network has no number of that name.
    """
    if progressive is None or progressive.dropout is None:
        yield
        return
    own = getattr(model, "dropout", None)
    if not isinstance(own, int | float):
        raise ValueError(
            f"Progressive sets model.dropout, a number; that of {type(model).__name__} is {type(own).__name__}: pass "
            "Progressive(dropout=None) to leave its dropout alone"
        )
    try:
        yield
    finally:
        model.dropout = own
