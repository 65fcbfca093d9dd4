"""How good a segmentation is: overlap and distance for each class, over whole volumes.

For the voxels P that a network gives to a class and the voxels T that belong to it,

    Dice = 2 |P ∩ T| / (|P| + |T|)
    HD95 = max(q95 {d(p, ∂T) : p in ∂P},  q95 {d(t, ∂P) : t in ∂T})

where ∂ is the surface (voxels with a neighbour outside, across a face), d the distance to the nearest voxel of the
other surface, in millimetres, and q95 the 95th percentile. Both are computed by MONAI (Cardoso et al., 2022).

Where this differs: the tables of TransUNet (Chen et al., 2021) and of the networks that follow its code come from
MedPy's HD95. That takes one percentile of both directions' distances together, which lies between the two percentiles
(but for interpolation) and so is no larger than their maximum. And the code calls it without the spacing: its HD95 is
in voxels, not in millimetres.

A class may be missing. Then there is no overlap or distance to speak of, and one has to agree on something:

======================  ====================  ===================
truth, prediction       ``"counted"``         ``"published"``
======================  ====================  ===================
none, none              left out (NaN)        Dice 0, HD95 0
none, some              Dice 0, HD95 at most  Dice 1, HD95 0
some, none              Dice 0, HD95 at most  Dice 0, HD95 0
======================  ====================  ===================

"At most" is the diagonal of the volume, so that an organ that was not found costs more than one that was found badly.
``"published"`` is what TransUNet's code does. It gives full marks for an organ that is not there, and the best possible
distance for one that was missed. Take it to compare with published tables, and the other one to compare networks.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stitchwork.analysis.evaluation import device_of, evaluation_mode, first_tensor

if TYPE_CHECKING:
    import pandas

ABSENT = ("counted", "published")


def segmentation_scores(
    prediction: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    spacing: Sequence[float] | None = None,
    classes: Sequence[str] | None = None,
    absent: str = "counted",
) -> "pandas.DataFrame":
    """Dice and HD95 of each class but 0, in one image or volume.

    Args:
        prediction: a class for each voxel, whole numbers of shape (H, W) or (D, H, W).
        labels: the truth, of the same shape.
        num_classes: how many classes there are, 0 (no class) included.
        spacing: distance between voxels along each axis in millimetres; without it 1.
        classes: names of the classes from 1 on; without them they are called 1, 2, ...
        absent: what counts where a class is missing, ``"counted"`` or ``"published"`` (see the top of this page).

    Returns:
        One row a class: ``class``, ``dice`` (0 to 1), ``hd95``.

    Raises:
        ValueError: shapes that differ, classes out of range, or an argument that does not fit.
        ModuleNotFoundError: MONAI or pandas is not installed.
    """
    monai = _monai()
    import pandas

    if prediction.shape != labels.shape or labels.dim() not in (2, 3):
        raise ValueError(
            "segmentation_scores: prediction and labels must both be (H, W) or (D, H, W); got "
            f"{tuple(prediction.shape)} and {tuple(labels.shape)}"
        )
    if absent not in ABSENT:
        raise ValueError(f"segmentation_scores: absent must be {' or '.join(map(repr, ABSENT))}; got {absent!r}")
    for name, tensor in (("prediction", prediction), ("labels", labels)):
        if tensor.numel() == 0 or tensor.min() < 0 or tensor.max() >= num_classes:
            found = f"{tensor.min()} to {tensor.max()}" if tensor.numel() else "none"
            raise ValueError(f"segmentation_scores: {name} must be classes from 0 to {num_classes - 1}; got {found}")
    classes = range(1, num_classes) if classes is None else classes
    if len(classes) != num_classes - 1:
        raise ValueError(
            f"segmentation_scores: classes must name the {num_classes - 1} classes from 1 on; got {len(classes)} names"
        )
    spacing = [1.0] * labels.dim() if spacing is None else [float(distance) for distance in spacing]
    if len(spacing) != labels.dim() or min(spacing) <= 0:
        raise ValueError(
            f"segmentation_scores: spacing must be {labels.dim()} positive distances, one for each axis; got {spacing}"
        )

    farthest = math.hypot(*((count - 1) * distance for count, distance in zip(labels.shape, spacing)))
    rows = []
    for index, name in enumerate(classes, 1):
        found, true = prediction == index, labels == index
        case = bool(true.any()), bool(found.any())
        if case == (True, True):
            # (1, 1, ...) without what lies outside both: the surfaces stay, and large volumes fit
            pair = [mask[None, None] for mask in _crop(found, true)]
            dice = monai.compute_dice(*pair, include_background=True).item()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)  # MONAI of its own code
                hd95 = monai.compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing)
            rows.append((name, dice, hd95.item()))
        elif absent == "published":
            rows.append((name, float(case == (False, True)), 0.0))
        else:
            rows.append((name, 0.0, farthest) if any(case) else (name, math.nan, math.nan))
    return pandas.DataFrame(rows, columns=["class", "dice", "hd95"])


def evaluate_volumes(
    model: nn.Module,
    volumes: Iterable[tuple[str, Tensor, Tensor, Sequence[float]]],
    size: int | None = 224,
    batch_size: int = 16,
    *,
    classes: Sequence[str] | None = None,
    absent: str = "counted",
    progress: bool = True,
) -> "pandas.DataFrame":
    """Dice and HD95 for each class of each volume, slice by slice through a network.

    One volume is in memory at a time.

    Args:
        model: (B, 1, size, size) -> logits (B, num_classes, size, size), or (B, 1, size, size) for a single class. It
            stays on its device and comes back in the mode it had.
        volumes: (name, image (D, H, W), labels (D, H, W), spacing), as from :func:`~stitchwork.data.load_volumes`.
        size: side in pixels of the slices that the network gets; ``None`` leaves them as they are.
        batch_size: slices at a time; it does not change the result.
        classes: names of the classes from 1 on; without them they are called 1, 2, ...
        absent: what counts where a class is missing, ``"counted"`` or ``"published"`` (see the top of this page).
        progress: show a progress bar.

    Returns:
        One row for each case and class: ``case``, ``class``, ``dice``, ``hd95``. ``table.groupby("class").mean()`` and
        ``table.groupby("case").mean()`` average over what is not left out.

    Raises:
        ValueError: there are no volumes, or one does not fit.
        ModuleNotFoundError: MONAI, pandas, scipy or tqdm is not installed.
    """
    import pandas
    from tqdm import tqdm

    tables = []
    bar = tqdm(total=len(volumes) if hasattr(volumes, "__len__") else None, desc="volumes", disable=not progress)
    for name, image, labels, spacing in volumes:
        if image.shape != labels.shape:
            raise ValueError(f"{name}: image {tuple(image.shape)} and labels {tuple(labels.shape)} must have one shape")
        found, num_classes = _predict(model, image, size, batch_size)
        try:
            table = segmentation_scores(found, labels, num_classes, spacing=spacing, classes=classes, absent=absent)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        table.insert(0, "case", name)
        tables.append(table)
        del image, labels, found  # before the next volume is read
        bar.update()
    bar.close()
    if not tables:
        raise ValueError("evaluate_volumes: there are no volumes; look at the list or the folder behind them")
    return pandas.concat(tables, ignore_index=True)


def predict_slices(model: nn.Module, image: Tensor, size: int | None = 224, batch_size: int = 16) -> Tensor:
    """The class of each voxel of a volume, slice by slice, in the order of TransUNet's code.

    Each slice is resized to ``size`` by cubic splines; the network gives each pixel its most probable class; this map
    of classes is resized back to the nearest pixel.

    Args:
        model: (B, 1, size, size) -> logits (B, num_classes, size, size), or (B, 1, size, size) for a single class.
        image: (D, H, W).
        size: side in pixels of the slices that the network gets; ``None`` leaves them as they are.
        batch_size: slices at a time; it does not change the result.

    Returns:
        Classes (D, H, W), int64, on the CPU.

    Raises:
        ValueError: the image is not a volume, or ``size`` or ``batch_size`` is less than 1.
    """
    return _predict(model, image, size, batch_size)[0]


@torch.no_grad()
def _predict(model: nn.Module, image: Tensor, size: int | None, batch_size: int) -> tuple[Tensor, int]:
    """The classes, and how many there are."""
    from scipy import ndimage

    if image.dim() != 3 or image.numel() == 0:
        raise ValueError(f"predict_slices takes a volume (D, H, W); got shape {tuple(image.shape)}")
    for name, value in (("size", 1 if size is None else size), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"predict_slices: {name} must be at least 1; got {value}")
    height, width = image.shape[1:]
    there = (1, 1) if size is None else (size / height, size / width)
    resized = there != (1, 1)
    result = torch.empty(image.shape, dtype=torch.int64)
    with evaluation_mode(model):
        for start in range(0, len(image), batch_size):
            slices = image[start : start + batch_size].float().cpu()
            if resized:
                slices = torch.stack([torch.from_numpy(ndimage.zoom(s, there, order=3)) for s in slices.numpy()])
            logits = first_tensor(model(slices[:, None].to(device_of(model))))
            classes = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)  # (B, size, size)
            classes = classes.cpu()
            if resized:
                back = [height / classes.shape[1], width / classes.shape[2]]
                classes = torch.stack([torch.from_numpy(ndimage.zoom(c, back, order=0)) for c in classes.numpy()])
            result[start : start + batch_size] = classes
    return result, max(2, logits.shape[1])


def _crop(*masks: Tensor) -> list[Tensor]:
    """The masks inside the smallest box that holds them all."""
    union = masks[0].logical_or(masks[1])
    box = []
    for axis in range(union.dim()):
        others = [other for other in range(union.dim()) if other != axis]
        places = union.any(others).nonzero()
        box.append(slice(int(places[0]), int(places[-1]) + 1))
    return [mask[tuple(box)] for mask in masks]


def _monai():
    try:
        from monai import metrics
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Dice and HD95 are computed by MONAI: pip install 'stitchwork[medical]'") from error
    return metrics
