"""Reading an image between its pixels: each point is a weighted sum of the few pixels around it.

The pixels lie in memory one after the other, channels last, with a border of zeros around the image, so that a point
near the edge is no case of its own. One ``embedding_bag`` fetches the pixels of all points, weighs and adds them. It
never holds the corners of each point side by side, as a gather does, and it reads all channels of a pixel at once,
which ``grid_sample`` does not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def zero_border(x: Tensor) -> Tensor:
    """The image (B, C, H, W) as pixels with a border of zeros, (B, H + 2, W + 2, C)."""
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))


def between(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Between which two pixels of an axis each position lies.

    Args:
        position: in pixels, 0 the centre of the first and ``size - 1`` that of the last, of any shape (...).
        size: pixels on the axis.

    Returns:
        The index of the lower pixel on the axis with its border, int32 (...), and the share of the upper one in linear
        interpolation (...), with the gradient of the position. More than a pixel outside only the border is read.
    """
    position = position.clamp(-1, size)
    # The last clamp is for a position that is not a number: its index must stay within the image of its own item.
    lower = position.detach().floor().int().clamp(-1, size - 1)
    return lower + 1, position - lower


def bilinear(
    rows: Tensor, columns: Tensor, height: int, width: int, strength: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """The four pixels around each point, and the weight of each.

    Args:
        rows, columns: the points, of any shape (...).
        height, width: of the image without its border.
        strength: the sum of each point's weights, one number or (...).

    Returns:
        Indices into the pixels of :func:`zero_border`, counted row by row, int32 (..., 4), and weights (..., 4).
    """
    row, lower_share = between(rows, height)
    column, right_share = between(columns, width)
    first = row * (width + 2) + column
    lower = strength * lower_share
    upper = strength - lower
    upper_right, lower_right = upper * right_share, lower * right_share
    index = [first, first + 1, first + (width + 2), first + (width + 3)]
    weight = [upper - upper_right, upper_right, lower - lower_right, lower_right]
    return torch.stack(index, -1), torch.stack(weight, -1)


def weighted_sums(pixels: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """For each of M points the sum over n pixels, ``sum over n of weight[b, m, n] * pixels[b, index[b, m, n]]``.

    Args:
        pixels: (B, N, C).
        index: int32 (B, M, n), from 0 to N - 1.
        weight: (B, M, n).

    Returns:
        (B, M, C)
    """
    batch, count, _ = pixels.shape
    start = count * torch.arange(batch, device=pixels.device, dtype=torch.int32)  # of each item's pixels among all
    sums = F.embedding_bag(
        (index + start[:, None, None]).flatten(0, 1),
        pixels.flatten(0, 1),
        mode="sum",
        per_sample_weights=weight.to(pixels.dtype).flatten(0, 1),
    )
    return sums.unflatten(0, (batch, -1))
