"""A pattern that repeats itself, and the question after how many pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start


def wallpaper(
    n: int,
    *,
    periods: Sequence[int] = (4, 6, 8, 12),
    size: int = 24,
    scale: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Say after how many cells the rows of an image repeat themselves.

    The property is *evidence in pixels that are far apart*. Each row is white noise of one period, over and over: cell
    j + p is cell j again. Within a window of p cells or fewer there is nothing to see but noise, whatever the period;
    one cell more, and the first equals the last. So a network that looks through windows of w cells, and takes the
    mean over all windows, knows the periods below w, and has little more than a guess for the others. It is a task of
    classes, and knowing nothing means to be wrong in all but one of ``len(periods)`` cases.

    Args:
        n: number of samples.
        periods: in cells, two or more, rising.
        size: side of the images in cells, more than the longest period.
        scale: side of a cell in pixels.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 1, size scale, size scale): the images; y (n,): the index of the period.

    Raises:
        ValueError: ``n``, ``size`` or ``scale`` is too small; ``periods`` are not two or more rising numbers.
    """
    periods = tuple(periods)
    if len(periods) < 2 or periods[0] < 1 or list(periods) != sorted(set(periods)):
        raise ValueError(f"wallpaper: periods must be two or more rising numbers, from 1 on; got {periods}")
    generator = start("wallpaper", n, size, seed, device, least=periods[-1] + 1, scale=scale)
    noise = torch.randn(n, size, size, generator=generator, device=device)
    y = torch.randint(len(periods), (n,), generator=generator, device=device)
    period = torch.tensor(periods, device=device)[y]  # (n,)
    cell = torch.arange(size, device=device) % period[:, None]  # (n, size)
    x = noise.gather(2, cell[:, None].expand(-1, size, -1))  # (n, size, size)
    return x.repeat_interleave(scale, 1).repeat_interleave(scale, 2)[:, None], y
