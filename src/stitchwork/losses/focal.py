"""Focal loss: what is easy already should not decide."""

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.losses.cross_entropy import answers


class Focal(nn.Module):
    """Binary cross-entropy, weighed down where the network is right by far.

    Paper: lin2017focal, eqs. 4 and 5. With p_t the probability of the truth:

        L = mean of -a_t (1 - p_t)^gamma log p_t        a_t = alpha for what is there, 1 - alpha for what is not

    Ten thousand pixels of background, each a little wrong, add up to more than a hundred of an organ that are very
    wrong; the factor makes the former vanish. With ``gamma=0`` it is weighted cross-entropy.

    Args:
        gamma: how fast what is easy loses its weight; 2 in the paper.
        alpha: weight of what is there, 0 to 1; 0.25 in the paper. ``None`` weighs both with one.
        ignore_index: the value of targets that do not count.

    Shapes:
        logits (B, K, ...), targets of zeros and ones (B, K, ...), or (B, ...) where K is 1 -> ()

    Raises:
        ValueError: an argument out of range; targets of another shape or with other values; no target counts.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = 0.25, ignore_index: int | None = None):
        super().__init__()
        if gamma < 0:
            raise ValueError(f"Focal: gamma must be 0 or greater; got {gamma}")
        if alpha is not None and not 0 <= alpha <= 1:
            raise ValueError(f"Focal: alpha must be between 0 and 1, or None; got {alpha}")
        self.gamma, self.alpha, self.ignore_index = gamma, alpha, ignore_index

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(B, K, ...), (B, K, ...) -> ()."""
        logits, targets = answers("Focal", logits, targets, self.ignore_index)
        logits = logits * (2 * targets - 1)  # of the truth, whatever it is
        # The power by its logarithm, log(1 - p_t): it has a gradient where p_t is one in floating point, too.
        loss = -(self.gamma * F.logsigmoid(-logits)).exp() * F.logsigmoid(logits)
        if self.alpha is not None:
            loss = (self.alpha * targets + (1 - self.alpha) * (1 - targets)) * loss
        return loss.mean()
