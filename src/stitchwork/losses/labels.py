"""What all losses ask of their targets, and what they make of them."""

import torch
import torch.nn.functional as F
from torch import Tensor


def check_labels(owner: str, logits: Tensor, labels: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Refuse labels that do not fit the logits.

    Args:
        owner: the name of the loss, for the message.
        logits: (B, K, ...); with K = 1 there are two classes.
        labels: class indices (B, ...), whole numbers of any type.
        ignore_index: the label of pixels that do not count; ``None`` if all do.

    Returns:
        The labels as int64, and which pixels count: (B, ...) both.

    Raises:
        ValueError: labels that are no integers, of another shape, or out of range; or no pixel counts.
    """
    if labels.is_floating_point():
        raise ValueError(f"{owner} takes class indices, integers (B, ...); got {labels.dtype}: make them int64")
    expected = (logits.shape[0], *logits.shape[2:])
    if tuple(labels.shape) != expected:
        raise ValueError(
            f"{owner}: logits of shape {tuple(logits.shape)} need labels of shape {expected}; got {tuple(labels.shape)}"
        )
    labels = labels.long()
    counts = torch.ones_like(labels, dtype=torch.bool) if ignore_index is None else labels != ignore_index
    check_some(owner, counts, ignore_index)
    classes = max(2, logits.shape[1])
    low, high = torch.stack(labels[counts].aminmax()).tolist()
    if low < 0 or high >= classes:
        raise ValueError(
            f"{owner}: the labels reach from {low} to {high}, but there are {classes} classes (labels 0 to "
            f"{classes - 1}): renumber them, give the network num_classes={high + 1}, or set ignore_index"
        )
    return labels, counts


def check_some(owner: str, counts: Tensor, ignore_index: int | None) -> None:
    """Refuse a batch of which nothing counts."""
    if not counts.any():
        why = f"all {counts.numel()} labels are the {ignore_index} that is ignored" if counts.numel() else "it is empty"
        raise ValueError(f"{owner}: no label of this batch counts, for {why}: leave such a batch out")


def shares_and_targets(
    owner: str, logits: Tensor, labels: Tensor, ignore_index: int | None, background: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The probabilities of the classes, what they should be, and which pixels count.

    Sums over an image do not fit into half precision, so that it is left here.

    Args:
        owner: the name of the loss, for the message.
        logits: (B, K, ...); with K = 1 the only class is 1.
        labels: class indices (B, ...).
        ignore_index: the label of pixels that do not count; ``None`` if all do.
        background: whether class 0 is among the classes, of two or more.

    Returns:
        (B, classes, ...) each, in at least float32: softmax of the logits, or sigmoid if K is 1; ones and zeros; and
        (B, 1, ...) ones and zeros.
    """
    labels, counts = check_labels(owner, logits, labels, ignore_index)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    labels = labels.where(counts, 0)
    if logits.shape[1] == 1:
        shares, targets = logits.sigmoid(), labels[:, None].to(logits.dtype)
    else:
        shares = logits.softmax(1)
        targets = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
        if not background:
            shares, targets = shares[:, 1:], targets[:, 1:]
    return shares, targets, counts[:, None].to(logits.dtype)


def check_weights(owner: str, weights: list[float] | None) -> None:
    """Refuse weights of classes of which one is below zero, or none above.

    Raises:
        ValueError: such weights.
    """
    if weights is not None and (min(weights) < 0 or max(weights) <= 0):
        raise ValueError(f"{owner}: class_weights must be 0 or greater, and not all 0; got {list(weights)}")


def class_weights(owner: str, weights: list[float] | None, logits: Tensor) -> Tensor:
    """The weights of the classes, (K,), in at least float32; ones if there are none.

    Raises:
        ValueError: another number of weights than of classes.
    """
    classes, dtype = logits.shape[1], torch.promote_types(logits.dtype, torch.float32)
    if weights is None:
        return logits.new_ones(classes, dtype=dtype)
    if len(weights) != classes:
        raise ValueError(f"{owner}: {classes} classes need as many class_weights; got {len(weights)}")
    return torch.as_tensor(weights, device=logits.device, dtype=dtype)
