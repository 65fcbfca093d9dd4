"""Losses of distances: an error counts more the further it is from the border of the organ."""

import torch
from torch import Tensor, nn

from stitchwork.losses.labels import shares_and_targets


def distances(inside: Tensor, counts: Tensor) -> Tensor:
    """How far each pixel is from the nearest of the other kind, in pixels.

    Args:
        inside: (B, K, ...) true or false.
        counts: (B, 1, ...), which pixels are known; the others are of neither kind.

    Returns:
        (B, K, ...) float32: the distance to the nearest pixel outside for those inside, and to the nearest inside for
        those outside; zeros for a class of which an image has nothing, or nothing else.
    """
    import numpy as np
    from scipy.ndimage import distance_transform_edt  # to the nearest pixel that is false

    masks, known = inside.detach().cpu().numpy(), counts.cpu().numpy() > 0
    result = np.zeros(masks.shape, np.float32)
    for image, class_ in np.ndindex(masks.shape[:2]):
        mask, seen = masks[image, class_], known[image, 0]
        if (mask & seen).any() and (~mask & seen).any():
            to_outside, to_inside = distance_transform_edt(mask | ~seen), distance_transform_edt(~mask | ~seen)
            result[image, class_] = np.where(mask, to_outside, to_inside)
    return torch.from_numpy(result).to(inside.device)


class Boundary(nn.Module):
    """The probability outside of an organ, each pixel weighed by its distance to the border; inside it counts negative.

    Paper: kervadec2019boundary, section 2. With the signed distance d, negative inside:

        L = mean over pixels of d p

    It is linear in p and negative where the organ is found, so that it can fall below zero. Near the border it hardly
    pulls, and for an organ that an image does not have not at all: it belongs beside a loss of regions, as in the
    paper.

    Args:
        background: whether class 0 counts.
        ignore_index: the label of pixels that do not count.

    Shapes:
        logits (B, K, H, W) or (B, K, D, H, W), labels (B, ...) -> ()

    Raises:
        ValueError: labels that do not fit.
        ModuleNotFoundError: scipy is not installed.
    """

    def __init__(self, background: bool = False, ignore_index: int | None = None):
        super().__init__()
        self.background, self.ignore_index = background, ignore_index

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, K, ...), (B, ...) -> ()."""
        shares, targets, counts = shares_and_targets("Boundary", logits, labels, self.ignore_index, self.background)
        distance = distances(targets > 0, counts).to(shares.dtype)
        # The border is the last pixel inside, at distance 0, as in the paper's code.
        signed = torch.where(targets > 0, 1 - distance, distance).where(distance > 0, 0)
        return (signed * shares * counts).sum() / (counts.sum() * shares.shape[1])


class Hausdorff(nn.Module):
    """Squared errors, weighed by a power of the distance to the border, of the truth and of the prediction.

    Paper: karimi2020reducing, the loss from distance transforms. It stands in for the largest distance between the two
    borders, which has no useful gradient:

        L = mean over pixels of (p - t)^2 (d_t^a + d_p^a)

    d_p is that of the prediction, cut at one half; no gradient goes through the distances.

    Args:
        power: a, the exponent; 2 in the paper.
        background: whether class 0 counts.
        ignore_index: the label of pixels that do not count.

    Shapes:
        logits (B, K, H, W) or (B, K, D, H, W), labels (B, ...) -> ()

    Raises:
        ValueError: the exponent is not greater than 0; labels that do not fit.
        ModuleNotFoundError: scipy is not installed.
    """

    def __init__(self, power: float = 2.0, background: bool = False, ignore_index: int | None = None):
        super().__init__()
        if power <= 0:
            raise ValueError(f"Hausdorff: power must be greater than 0; got {power}")
        self.power, self.background, self.ignore_index = power, background, ignore_index

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, K, ...), (B, ...) -> ()."""
        shares, targets, counts = shares_and_targets("Hausdorff", logits, labels, self.ignore_index, self.background)
        weight = sum(distances(part > 0.5, counts).to(shares.dtype) ** self.power for part in (targets, shares))
        return ((shares - targets) ** 2 * weight * counts).sum() / (counts.sum() * shares.shape[1])
