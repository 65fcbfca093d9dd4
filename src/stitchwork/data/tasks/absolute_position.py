"""A summary that keeps the position along an axis."""

import math

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import consecutive, start


def absolute_position(
    n: int, *, size: int = 16, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Keep the texture in one row and erase it elsewhere; a marker, in any column, says which row.

    The property is *a summary that keeps the position along an axis*. The marker is a single pixel in a plane of its
    own, and a texture pixel must be kept if the marker is somewhere in its row. A mean over each row (CoordAtt) has
    the answer at hand: it is different from zero in the marked row alone. A mean over the whole image (SE) is the
    same number in every sample, whichever row is marked: the best that is left is a fraction 1 / sqrt(size) of the
    target's texture everywhere, with the error 1 - 1 / size. A convolution sees the marker only as far as its kernel
    reaches along the row.

    "Absolute" is the place of the row in this image, not its number: the samples are drawn alike at every place, and
    with circular padding CoordAtt, as every convolution, moves with its input.

    Args:
        n: number of samples.
        size: side of the images in pixels.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 2, size, size): texture and marker; y (n, 1, size, size): the texture times sqrt(size) in the marked row
        (which makes its mean square 1) and 0 elsewhere.

    Raises:
        ValueError: ``n`` or ``size`` is too small.
    """
    generator = start("absolute_position", n, size, seed, device)
    texture = torch.randn(n, size, size, generator=generator, device=device)
    row = consecutive(n, size, 1, generator, device)[:, :, None]  # (n, size, 1)
    column = consecutive(n, size, 1, generator, device)[:, None, :]  # (n, 1, size)
    marker = (row & column) * float(size)  # mean over its row: 1
    return torch.stack([texture, marker], 1), (math.sqrt(size) * texture * row)[:, None]
