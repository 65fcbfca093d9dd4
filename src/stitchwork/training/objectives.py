"""What is minimised: cross-entropy unless told otherwise, and mixup around any loss."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy, once the labels are known to fit the logits.

    Args:
        logits: (B, K, ...).
        target: class indices (B, ...), integers in 0..K-1.
        label_smoothing: share of the target that is spread over all classes.

    Raises:
        ValueError: the target is no class index, has another shape, or lies outside 0..K-1.
    """
    if target.is_floating_point():
        raise ValueError(
            f"the targets are {target.dtype}, but cross-entropy takes class indices: make them int64, or pass a loss "
            "of your own, such as loss=torch.nn.functional.mse_loss"
        )
    expected = (logits.shape[0], *logits.shape[2:])
    if target.shape != expected:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} need targets of shape {expected}; got {tuple(target.shape)}"
        )
    low, high = torch.stack(target.aminmax()).tolist()
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(
            f"the labels reach from {low} to {high}, but the model has {logits.shape[1]} classes (labels 0 to "
            f"{logits.shape[1] - 1}): build it with num_classes={high + 1}, or renumber the labels"
        )
    return F.cross_entropy(logits, target.long(), label_smoothing=label_smoothing)


def training_loss(loss: Loss | None, label_smoothing: float) -> Loss:
    """The loss of a training step.

    Raises:
        ValueError: label smoothing with a loss of one's own, which knows no classes to smooth.
    """
    if loss is None:
        return partial(cross_entropy, label_smoothing=label_smoothing)
    if label_smoothing:
        raise ValueError(
            f"label_smoothing={label_smoothing} belongs to the built-in cross-entropy; with a loss of your own set "
            "it to 0, and smooth inside that loss"
        )
    return loss


def check_scalar(loss: Tensor) -> Tensor:
    """The loss itself, if it is one number.

    Raises:
        ValueError: it has several; a loss is the mean over the batch.
    """
    if loss.numel() != 1:
        raise ValueError(f"a loss must be one number, the mean over the batch; got shape {tuple(loss.shape)}")
    return loss


def mixup(x: Tensor, y: Tensor, alpha: float, loss: Loss) -> tuple[Tensor, Loss]:
    """Blend each sample with another of its batch (zhang2018mixup, eq. 2).

    A blend of two targets under a loss that is linear in the target is the same blend of two losses; written that way
    it serves any loss.

    Args:
        x: inputs (B, ...).
        y: their targets (B, ...).
        alpha: parameter of the Beta distribution from which the share of the blend is drawn, once a batch.
        loss: of outputs and targets.

    Returns:
        The blended inputs, and the loss to be called with their outputs and ``y``.
    """
    share = torch.distributions.Beta(alpha, alpha).sample().item()
    partner = torch.randperm(len(x)).to(x.device)

    def blended(output: Tensor, target: Tensor) -> Tensor:
        return share * loss(output, target) + (1 - share) * loss(output, target[partner])

    return share * x + (1 - share) * x[partner], blended
