"""A small sign at any place of a noisy image, and the question which sign."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start

SIDE = 4


def glyphs(classes: int = 8) -> Tensor:
    """The signs of :func:`glyph_anywhere`: (classes, 4, 4), each of eight ones and eight minus ones, always the same.

    Args:
        classes: how many, at least 2.

    Raises:
        ValueError: ``classes`` is less than 2.
    """
    if classes < 2:
        raise ValueError(f"glyph_anywhere: classes must be at least 2; got {classes}")
    order = torch.rand(classes, SIDE**2, generator=torch.Generator().manual_seed(0)).argsort(1)
    return torch.where(order < SIDE**2 // 2, 1.0, -1.0).view(classes, SIDE, SIDE)


def glyph_anywhere(
    n: int, *, classes: int = 8, size: int = 12, noise: float = 0.5, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Say which of a few signs is in the image; it may be at any place.

    The property is *the same detector at every place*. Each sign is a fixed pattern of 4 x 4 pixels, half of them 1 and
    half of them -1, and lies anywhere in the noise, over the edges too. Whoever lays the pattern on every place and
    takes the best fit is right, and every image tells him the same about the pattern, wherever it was. Whoever has
    weights of their own for every place must see every sign at every place. No weighted sum of the pixels knows
    anything: over all places, the mean image of every sign is zero. It is a task of classes, and knowing nothing means
    to be wrong in all but one of ``classes`` cases.

    Args:
        n: number of samples.
        classes: number of signs.
        size: side of the images in pixels, at least 4.
        noise: standard deviation of the noise in every pixel.
        seed: decides the samples; the signs are always the same.
        device: where they are made.

    Returns:
        x (n, 1, size, size): the images; y (n,): the index of the sign in :func:`glyphs`.

    Raises:
        ValueError: ``n``, ``classes`` or ``size`` is too small, or ``noise`` is negative.
    """
    generator = start("glyph_anywhere", n, size, seed, device, least=SIDE)
    if noise < 0:
        raise ValueError(f"glyph_anywhere: noise must be 0 or more; got {noise}")
    signs = glyphs(classes).to(device)
    y = torch.randint(classes, (n,), generator=generator, device=device)
    corner = torch.randint(size, (n, 2), generator=generator, device=device)
    reach = torch.arange(SIDE, device=device)
    rows, columns = ((corner[:, axis, None] + reach) % size for axis in (0, 1))  # (n, 4) each
    x = noise * torch.randn(n, size, size, generator=generator, device=device)
    sample = torch.arange(n, device=device)[:, None, None]
    x[sample, rows[:, :, None], columns[:, None, :]] += signs[y]
    return x[:, None], y
