"""A value that another pixel holds, at a place that is always the same."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start


def upside_down(n: int, *, size: int = 8, seed: int = 0, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return a texture upside down.

    The property is *weights that depend on both places, and on nothing else*. The answer of a pixel stands in the
    mirrored row, so each row has to look another way, and the texture, white noise, does not say where. Whoever
    looks the same way from every pixel is right in one or two rows at best; whoever goes by contents is never right.

    Args:
        n: number of samples.
        size: side of the images in pixels.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 1, size, size): the texture; y (n, 1, size, size): the same, its rows in reverse order.

    Raises:
        ValueError: ``n`` or ``size`` is too small.
    """
    generator = start("upside_down", n, size, seed, device)
    x = torch.randn(n, 1, size, size, generator=generator, device=device)
    return x, x.flip(2)
