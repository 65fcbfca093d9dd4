"""What the command line trains: data, loss, metrics and a recipe that belong together."""

from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset
from torchmetrics import Metric

from stitchwork.training.objectives import Loss
from stitchwork.training.recipe import Recipe


@dataclass(frozen=True)
class Task:
    """Data, and how one learns from them unless told otherwise.

    Args:
        train: pairs (x, y).
        valid: pairs to measure after each epoch.
        in_chans: channels of the images.
        num_classes: logits of the network.
        recipe: the numbers of the run.
        loss: of logits and targets; cross-entropy if not given.
        metrics: for the validation; the accuracy if neither they nor a loss are given.
        best: the metric by which the best epoch is chosen; without it the last one counts.
        classes: for segmentation, the names of the classes from 1 on.
        test: for segmentation, what the report measures: pairs, or volumes as of :func:`~stitchwork.data.load_volumes`.
    """

    train: Dataset
    valid: Dataset
    in_chans: int
    num_classes: int
    recipe: Recipe = Recipe()  # noqa: RUF009 - frozen
    loss: Loss | None = None
    metrics: Metric | None = None
    best: str | None = None
    classes: tuple[str, ...] = ()
    test: Any = None
