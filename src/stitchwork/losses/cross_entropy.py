"""Cross-entropy: how surprised the network is by the truth, pixel by pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.losses.labels import check_labels, check_some, check_weights, class_weights


class CrossEntropy(nn.Module):
    """-log of the probability of the true class, averaged over the pixels.

        L = -sum over pixels of w_y log p_y / sum over pixels of w_y

    Args:
        class_weights: a factor w for each class; one each if not given.
        ignore_index: the label of pixels that do not count.
        label_smoothing: share of the target that is spread evenly over all classes (szegedy2016rethinking); the
            weights then multiply each class's part of the target.

    Shapes:
        logits (B, K, ...), labels (B, ...) -> (), K from 2 on

    Raises:
        ValueError: an argument out of range; labels or weights that do not fit; no pixel counts, or none with a weight;
            a single logit, which is for :class:`BinaryCrossEntropy`.
    """

    def __init__(
        self,
        class_weights: list[float] | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"CrossEntropy: label_smoothing must be at least 0 and below 1; got {label_smoothing}")
        check_weights("CrossEntropy", class_weights)
        self.class_weights, self.ignore_index, self.label_smoothing = class_weights, ignore_index, label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, K, ...), (B, ...) -> ()."""
        if logits.shape[1] < 2:
            raise ValueError("CrossEntropy needs two logits or more; for one logit take BinaryCrossEntropy")
        labels, counts = check_labels("CrossEntropy", logits, labels, self.ignore_index)
        weights = class_weights("CrossEntropy", self.class_weights, logits)
        if self.class_weights is not None and not weights[labels[counts]].any():
            raise ValueError(
                f"CrossEntropy: every class of this batch has weight 0 in {self.class_weights}: leave it out"
            )
        labels = labels.where(counts, -100)  # which PyTorch ignores
        return F.cross_entropy(logits.to(weights.dtype), labels, weights, label_smoothing=self.label_smoothing)


class BinaryCrossEntropy(nn.Module):
    """Cross-entropy for one logit, or for several answers of yes or no.

        L = mean of -w t log sigmoid(z) - (1 - t) log(1 - sigmoid(z))

    Args:
        positive_weight: the factor w of what is there, against rarity; the same for each answer.
        ignore_index: the value of targets that do not count.

    Shapes:
        logits (B, K, ...), targets of zeros and ones (B, K, ...), or (B, ...) where K is 1 -> ()

    Raises:
        ValueError: an argument out of range; targets of another shape or with other values; no target counts.
    """

    def __init__(self, positive_weight: float = 1.0, ignore_index: int | None = None):
        super().__init__()
        if positive_weight <= 0:
            raise ValueError(f"BinaryCrossEntropy: positive_weight must be greater than 0; got {positive_weight}")
        self.positive_weight, self.ignore_index = positive_weight, ignore_index

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(B, K, ...), (B, K, ...) -> ()."""
        logits, targets = answers("BinaryCrossEntropy", logits, targets, self.ignore_index)
        weight = logits.new_tensor(self.positive_weight)
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)


def answers(owner: str, logits: Tensor, targets: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Logits and targets that count, one after the other, in at least float32.

    Raises:
        ValueError: targets of another shape or with other values than 0 and 1; no target counts.
    """
    given = tuple(targets.shape)
    if targets.dim() == logits.dim() - 1 and logits.shape[1] == 1:
        targets = targets[:, None]
    if targets.shape != logits.shape:
        raise ValueError(
            f"{owner}: logits of shape {tuple(logits.shape)} need targets of the same shape"
            + (", without the second axis if you like" if logits.shape[1] == 1 else ", one for each class")
            + f"; got {given}"
        )
    counts = torch.ones_like(targets, dtype=torch.bool) if ignore_index is None else targets != ignore_index
    check_some(owner, counts, ignore_index)
    logits, targets = logits[counts], targets[counts]
    if not ((targets == 0) | (targets == 1)).all():
        raise ValueError(f"{owner}: targets must be 0 or 1; got values from {targets.min()} to {targets.max()}")
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype), targets.to(dtype)
