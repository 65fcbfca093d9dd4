"""Slices through a body that nobody has: organs whose names are a matter of place, not of grey value."""

import math

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start

# Row, column, half height, half width in units of the body's half axes, tilt in degrees, grey value; later ones lie on
# top. The patient's right is the image's left, as in every CT.
_SHAPES = {
    "liver": (-0.14, -0.44, 0.46, 0.40, 0, 0.70),
    "stomach": (-0.38, 0.36, 0.22, 0.32, -20, 0.35),
    "spleen": (0.04, 0.66, 0.30, 0.17, 10, 0.70),
    "pancreas": (0.00, 0.12, 0.10, 0.30, -15, 0.60),
    "gallbladder": (0.02, -0.24, 0.13, 0.10, 20, 0.35),
    "right kidney": (0.50, -0.42, 0.18, 0.14, 20, 0.85),
    "left kidney": (0.50, 0.42, 0.18, 0.14, -20, 0.85),
    "aorta": (0.30, 0.10, 0.09, 0.09, 0, 0.85),
}
# The classes in the order of Synapse's labels; 0 is everything else.
ORGANS = ("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach")
_FAT, _BONE = 0.5, 1.0


def phantom(
    n: int, *, size: int = 224, noise: float = 0.05, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Say for every pixel which of eight organs it belongs to, or none.

    Body and organs are ellipses that vary in place, size, tilt and grey value. The property is *a fine border together
    with a coarse place*: liver and spleen have the same grey value on average, and so have both kidneys, the aorta
    among them, and stomach and gallbladder. A pixel's grey value does not tell its organ, and neither does its place
    alone, because the body moves. Nine classes, one channel, and at 224 pixels the shape of the Synapse set of CT
    slices; at 32 pixels the smallest organs are three pixels wide.

    Args:
        n: number of images.
        size: side of the images in pixels, at least 32.
        noise: standard deviation of the noise in every pixel; the grey values lie between 0 and 1.
        seed: decides the images.
        device: where they are made.

    Returns:
        x (n, 1, size, size): the images; y (n, size, size), int64: 0 for no organ, and i for ``ORGANS[i - 1]``.

    Raises:
        ValueError: ``n`` or ``size`` is too small, or ``noise`` is negative.
    """
    if noise < 0:
        raise ValueError(f"phantom: noise must be 0 or more; got {noise}")
    generator = start("phantom", n, size, seed, device, least=32)

    def vary(spread: float) -> Tensor:
        return spread * torch.randn(n, 1, 1, generator=generator, device=device).clamp(-2, 2)

    line = (torch.arange(size, device=device) + 0.5) / size * 2 - 1
    rows = (line.view(1, -1, 1) - vary(0.08)) / (0.72 * (1 + vary(0.05)))  # the body's own coordinates
    columns = (line.view(1, 1, -1) - vary(0.08)) / (0.88 * (1 + vary(0.05)))
    rows, columns = torch.broadcast_tensors(rows, columns)  # (n, size, size)

    x = _FAT * (rows**2 + columns**2 <= 1).float()
    y = torch.zeros(n, size, size, dtype=torch.int64, device=device)
    for name, (row, column, height, width, tilt, grey) in {**_SHAPES, "spine": (0.62, 0, 0.16, 0.13, 0, _BONE)}.items():
        down, right, turn = rows - row - vary(0.04), columns - column - vary(0.04), math.radians(tilt) + vary(0.2)
        along, across = right * turn.cos() + down * turn.sin(), down * turn.cos() - right * turn.sin()
        inside = (along / (width * (1 + vary(0.1)))) ** 2 + (across / (height * (1 + vary(0.1)))) ** 2 <= 1
        x = torch.where(inside, grey + vary(0.04), x)
        y[inside] = ORGANS.index(name) + 1 if name in ORGANS else 0
    x = x + noise * torch.randn(x.shape, generator=generator, device=device)
    return x[:, None], y
