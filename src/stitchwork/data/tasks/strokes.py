"""Strokes of two kinds, whose kind is said on the spot or somewhere else, and whose width is up to you."""

import math

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start

TOLD = ("here", "afar")
NOISE = 0.3
SPOT = 5.0
"""Radius of the spot that says the kind, in pixels."""


def strokes(
    n: int,
    *,
    told: str = "here",
    width: float = 9.0,
    count: int = 3,
    size: int = 64,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Say of each pixel whether it lies on a stroke, and of which of two kinds the stroke is.

    Two properties, to be had apart or together. ``told`` decides on *context*: either every stroke has the colour of
    its own kind (``"here"``), or all strokes of an image are of one kind and have no colour, and one spot somewhere
    has the colour (``"afar"``). Who does not see the spot can know where strokes are and nothing of their kind, and
    whatever is said, the mean over both kinds of intersection over union is at most a third, in the limit of many
    images. ``width`` decides on *detail*: of a wide stroke most pixels lie inside, of a narrow one all lie at the edge.

    Args:
        n: number of samples.
        told: "here" or "afar".
        width: of a stroke in pixels, at least 1.
        count: strokes of an image; a later one lies over an earlier one.
        size: side of the images in pixels, at least 16.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 2, size, size): brightness and colour, with noise; y (n, size, size): 0 beside the strokes, or the kind,
        1 or 2.

    Raises:
        ValueError: ``n``, ``count``, ``size`` or ``width`` is too small; ``told`` is neither.
    """
    generator = start("strokes", n, size, seed, device, least=16, count=count)
    if told not in TOLD:
        raise ValueError(f"strokes: told must be one of {', '.join(TOLD)}; got {told!r}")
    if not width >= 1:
        raise ValueError(f"strokes: width must be at least 1; got {width}")
    where = size * torch.rand(n, count + 1, 2, generator=generator, device=device)
    angle = math.pi * torch.rand(n, count, generator=generator, device=device)
    kinds = torch.randint(1, 3, (n, count), generator=generator, device=device)
    noise = NOISE * torch.randn(n, 2, size, size, generator=generator, device=device)
    if told == "afar":
        kinds = kinds[:, :1].expand(-1, count)

    place = torch.arange(size, device=device) + 0.5
    y = torch.zeros(n, size, size, dtype=torch.int64, device=device)
    for i in range(count):
        down, right = offsets(place, where[:, i])
        direction = torch.stack([angle[:, i].sin(), angle[:, i].cos()])[..., None, None]  # (2, n, 1, 1)
        along = (down * direction[0] + right * direction[1]).clamp(-size / 5, size / 5)
        away = torch.hypot(down - along * direction[0], right - along * direction[1])
        y = torch.where(away <= width / 2, kinds[:, i, None, None], y)
    colours = 2.0 * kinds - 3  # -1 or 1
    if told == "here":
        colour = torch.where(y > 0, 2.0 * y - 3, 0.0)
    else:
        spot = torch.hypot(*offsets(place, where[:, count])) <= SPOT
        y = y.masked_fill(spot, 0)
        colour = spot * colours[:, :1, None]
    return torch.stack([(y > 0).float(), colour], 1) + noise, y


def offsets(place: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """How far below and to the right of ``centre`` (n, 2) each pixel lies, modulo the image: (n, H, 1), (n, 1, W)."""
    size = len(place)
    down, right = ((place - centre[:, axis, None] + size / 2) % size - size / 2 for axis in (0, 1))
    return down[:, :, None], right[:, None, :]
