"""What all losses ask of their targets, and what they make of them."""

import torch
import torch.nn.functional as F
from torch import Tensor


def check_labels(owner: str, logits: Tensor, labels: Tensor, ignore_index: int | None) -> Tensor:
    """Refuse labels that do not fit the logits; returns which pixels count, (B, ...), true or false.

    Args:
        owner: the name of the loss, for the message.
        logits: (B, K, ...); with K = 1 there are two classes.
        labels: class indices (B, ...), integers.
        ignore_index: the label of pixels that do not count; ``None`` if all do.

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
    counts = torch.ones_like(labels, dtype=torch.bool) if ignore_index is None else labels != ignore_index
    if not counts.any():
        raise ValueError(f"{owner}: every pixel has the label {ignore_index} that is ignored: leave such a batch out")
    classes = max(2, logits.shape[1])
    low, high = torch.stack(labels[counts].aminmax()).tolist()
    if low < 0 or high >= classes:
        raise ValueError(
            f"{owner}: the labels reach from {low} to {high}, but there are {classes} classes (labels 0 to "
            f"{classes - 1}): renumber them, give the network num_classes={high + 1}, or set ignore_index"
        )
    return counts


def shares_and_targets(
    owner: str, logits: Tensor, labels: Tensor, ignore_index: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The probabilities of the classes, what they should be, and which pixels count.

    Sums over an image do not fit into half precision, so that it is left here.

    Returns:
        (B, K, ...) each, in at least float32: softmax of the logits, or sigmoid if K is 1; ones and zeros; and
        (B, 1, ...) ones and zeros.
    """
    counts = check_labels(owner, logits, labels, ignore_index)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    clean = labels.where(counts, 0)
    if logits.shape[1] == 1:
        shares, targets = logits.sigmoid(), clean[:, None].to(logits.dtype)
    else:
        shares = logits.softmax(1)
        targets = F.one_hot(clean.long(), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    return shares, targets, counts[:, None].to(logits.dtype)


def class_weights(owner: str, weights: list[float] | None, logits: Tensor) -> Tensor:
    """The weights of the classes, (K,); ones if there are none.

    Raises:
        ValueError: another number of weights than of classes, or none above zero.
    """
    if weights is None:
        return logits.new_ones(logits.shape[1], dtype=torch.promote_types(logits.dtype, torch.float32))
    if len(weights) != logits.shape[1]:
        raise ValueError(f"{owner}: {logits.shape[1]} classes need as many class_weights; got {len(weights)}")
    if min(weights) < 0 or max(weights) <= 0:
        raise ValueError(f"{owner}: class_weights must be 0 or greater, and not all 0; got {list(weights)}")
    return torch.as_tensor(weights, device=logits.device, dtype=torch.promote_types(logits.dtype, torch.float32))
