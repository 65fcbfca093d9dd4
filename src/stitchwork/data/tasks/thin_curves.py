"""A line that bends, one pixel thin, under noise."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start

STAYS = 0.8
"""How likely the curve keeps its slope from one column to the next; else it draws one of -1, 0, 1 anew."""


def thin_curves(
    n: int, *, size: int = 24, contrast: float = 1.5, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Find the curve that wanders through noise from the left to the right, one pixel in each column.

    The property is *a kernel that follows a line as it bends*. No pixel is bright enough to be found alone, so evidence
    must be gathered along the curve. From column to column it moves up by one row, straight on, or down by one row; it
    keeps its slope with probability 4/5, else it draws one of the three anew. Rows are counted modulo the image. A
    straight kernel gathers what lies on one line, a bent one all of it. The best answer that there is has a closed
    form, :func:`thin_curves_posterior`.

    Args:
        n: number of samples.
        size: side of the images in pixels, at least 3.
        contrast: what the curve adds to its pixels; the standard deviation of the noise is 1.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 1, size, size): noise with the curve; y (n, 1, size, size): 1 on the curve and 0 elsewhere, less its mean
        and divided by its standard deviation, which are the same in all images.

    Raises:
        ValueError: ``n`` or ``size`` is too small, or ``contrast`` is negative.
    """
    generator = start("thin_curves", n, size, seed, device, least=3)
    if contrast < 0:
        raise ValueError(f"thin_curves: contrast must be 0 or more; got {contrast}")
    fresh = torch.randint(-1, 2, (n, size), generator=generator, device=device)
    turns = torch.rand(n, size, generator=generator, device=device) >= STAYS
    turns[:, 0] = True
    latest = torch.where(turns, torch.arange(size, device=device), 0).cummax(1).values  # the column of the last turn
    slope = fresh.gather(1, latest)  # (n, size)
    first = torch.randint(size, (n, 1), generator=generator, device=device)
    rows = (first + slope.cumsum(1)) % size
    curve = (torch.arange(size, device=device)[:, None] == rows[:, None, :]).float()  # (n, size, size)
    x = contrast * curve + torch.randn(n, size, size, generator=generator, device=device)
    return x[:, None], ((curve - 1 / size) / (1 / size - 1 / size**2) ** 0.5)[:, None]


def thin_curves_posterior(x: Tensor, contrast: float = 1.5) -> Tensor:
    """The answer with the least mean squared error, from the rules by which :func:`thin_curves` draws.

    The curve is a Markov chain with 3 states a row, its slopes. Messages run from the left and from the right (the
    forward-backward algorithm) and meet in every column; what comes out is how likely each pixel is on the curve.

    Args:
        x: (n, 1, size, size), as from the task.
        contrast: as in the task.

    Returns:
        (n, 1, size, size), normalised like the target.
    """
    size = x.shape[3]
    evidence = torch.softmax(contrast * x[:, 0].double(), 1)  # (n, rows, columns), up to a factor of each column
    turn = STAYS * torch.eye(3, dtype=torch.float64, device=x.device) + (1 - STAYS) / 3  # from slope to slope
    left, right = [], []  # what is known to the left and to the right of a column, (n, rows, 3) each
    before = torch.ones(len(x), size, 3, dtype=torch.float64, device=x.device)
    after = before.clone()
    for column in range(size):
        left.append(before)
        before = step((before * evidence[:, :, column, None]) @ turn, 1)
        right.append(after)
        after = step(after * evidence[:, :, size - 1 - column, None], -1) @ turn
    belief = torch.stack(left, 2) * torch.stack(right[::-1], 2)  # (n, rows, columns, 3)
    belief = belief.sum(3) * evidence
    belief = belief / belief.sum(1, keepdim=True)
    return ((belief - 1 / size) / (1 / size - 1 / size**2) ** 0.5)[:, None].to(x.dtype)


def step(message: Tensor, direction: int) -> Tensor:
    """Move what is known of slopes -1, 0 and 1, (n, rows, 3), by these slopes; scaled to a sum of 1."""
    message = torch.stack([message[..., i].roll(direction * (i - 1), 1) for i in range(3)], 2)
    return message / message.sum((1, 2), keepdim=True)
