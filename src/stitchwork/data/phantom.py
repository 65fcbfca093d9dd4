"""Slices through bodies that nobody has: organs whose names are a matter of place, not of grey value."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start


class _Shape(NamedTuple):
    """An ellipsoid. Lengths are in units of the body's half axes, ``tilt`` is in degrees.

    ``level`` is the height of its middle, from 0 at the diaphragm to 1 below the kidneys, and ``reach`` how far it goes
    up and down from there. ``wander`` and ``shades`` are the spreads of its place and grey value from body to body, and
    ``removed`` is the share of bodies without it.
    """

    row: float
    column: float
    height: float
    width: float
    tilt: float
    grey: float
    level: float = 0.5
    reach: float = 9.0
    wander: float = 0.06
    shades: float = 0.04
    removed: float = 0.0


# Later ones lie on top. The patient's right is the image's left, as in every CT. Those that are no organs look like
# some: the vena cava like the aorta beside it, muscle like liver and spleen, loops of the bowel like anything soft, and
# a cyst like the gallbladder.
_SHAPES = {
    "body": _Shape(0, 0, 1, 1, 0, 0.30, wander=0),
    "bowel, right": _Shape(0.14, -0.58, 0.18, 0.16, 0, 0.52, 0.8, 0.6, wander=0.1, shades=0.1),
    "bowel, right front": _Shape(-0.42, -0.16, 0.15, 0.20, 0, 0.52, 0.7, 0.6, wander=0.1, shades=0.1),
    "bowel, middle": _Shape(-0.14, 0.10, 0.14, 0.18, 0, 0.52, 0.8, 0.7, wander=0.1, shades=0.1),
    "bowel, left front": _Shape(-0.24, 0.42, 0.15, 0.18, 0, 0.52, 0.8, 0.6, wander=0.1, shades=0.1),
    "bowel, left": _Shape(0.10, 0.56, 0.18, 0.15, 0, 0.52, 0.8, 0.6, wander=0.1, shades=0.1),
    "muscle, right": _Shape(0.66, -0.28, 0.14, 0.14, 0, 0.58),
    "muscle, left": _Shape(0.66, 0.28, 0.14, 0.14, 0, 0.58),
    "liver": _Shape(-0.14, -0.42, 0.48, 0.44, 0, 0.60, 0.3, 0.7),
    "stomach": _Shape(-0.38, 0.34, 0.24, 0.36, -20, 0.50, 0.3, 0.55, shades=0.08),
    "spleen": _Shape(0.04, 0.64, 0.32, 0.19, 10, 0.62, 0.3, 0.55),
    "pancreas": _Shape(0.00, 0.12, 0.11, 0.32, -15, 0.54, 0.5, 0.45),
    "gallbladder": _Shape(0.02, -0.24, 0.15, 0.11, 20, 0.45, 0.6, 0.4, removed=0.15),
    "right kidney": _Shape(0.50, -0.42, 0.20, 0.16, 20, 0.68, 0.7, 0.45),
    "left kidney": _Shape(0.50, 0.42, 0.20, 0.16, -20, 0.68, 0.64, 0.45),
    "cyst, right": _Shape(-0.10, -0.45, 0.11, 0.10, 0, 0.45, wander=0.14, removed=0.4),
    "cyst, left": _Shape(0.20, 0.55, 0.10, 0.08, 0, 0.45, wander=0.14, removed=0.6),
    "vena cava": _Shape(0.30, -0.12, 0.10, 0.11, 0, 0.70),
    "aorta": _Shape(0.30, 0.10, 0.09, 0.09, 0, 0.72),
    "spine": _Shape(0.62, 0, 0.16, 0.13, 0, 0.90),
}
# The classes in the order of Synapse's labels; 0 is everything else.
ORGANS = ("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach")
# What the pixels of a shape are called. Those beneath all organs need no name; a cyst has that of the organ it is in.
_LABELS = {name: k for k, name in enumerate(ORGANS, 1)} | {"vena cava": 0, "spine": 0}
_AT_ONCE = 32  # slices that are drawn together: as many as the caches hold


def phantom(
    n: int, *, size: int = 224, noise: float = 0.08, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Say for every pixel which of eight organs it belongs to, or none.

    The property is *a fine border together with a coarse place*. Each image is a slice at some height through another
    body, taken by another scanner:

    * anatomy: body and organs vary in size, place, tilt and form. They touch and cover each other. Slices high up have
      no kidneys and low ones no spleen, some bodies have no gallbladder, and some have cysts, which belong to the organ
      that they are in;
    * partial volume: a pixel on a border has the mean of what is in it. Its label is what most of it is;
    * the scanner: every scan has its own gain and offset, and is brighter towards one side or the other;
    * noise in every pixel.

    Liver, spleen and muscle have nearly the same grey value on average, and so have both kidneys, the aorta and the
    vena cava; loops of the bowel may look like the pancreas, the stomach or the liver, and cysts like the gallbladder.
    So neither a pixel's grey value nor its place tells its organ. Nine classes, one channel, and at 224 pixels the
    shape of the Synapse set of CT slices; at 32 pixels the smallest organs are three pixels wide.

    Args:
        n: number of images.
        size: side of the images in pixels, at least 32.
        noise: standard deviation of the noise in every pixel; the grey values lie between 0 and 1, or not far outside.
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
    x = torch.empty(n, 1, size, size, device=device)
    y = torch.empty(n, size, size, dtype=torch.int64, device=device)
    labels, paint = torch.empty(2, min(n, _AT_ONCE), size, size, device=device)  # used again and again: that is faster
    for images, numbers in zip(x[:, 0].split(_AT_ONCE), y.split(_AT_ONCE)):
        _draw_bodies(images, labels[: len(images)], paint.flatten(), generator)
        _scan(images, noise, paint.flatten(), generator)
        numbers.copy_(labels[: len(images)])
    return x, y


def _draw_bodies(x: Tensor, labels: Tensor, paint: Tensor, generator: torch.Generator) -> None:
    """Draw slices through bodies into x (n, size, size) and what is where into ``labels``, with ``paint`` as memory."""
    n, size, device = len(x), x.shape[1], x.device
    table = torch.tensor(list(_SHAPES.values()), device=device).T.unsqueeze(1)  # (columns, 1, shapes)
    row, column, height, width, tilt, grey, level, reach, wander, shades, removed = table

    def uniform(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator, device=device)

    def vary(spread: float | Tensor, count: int = len(_SHAPES)) -> Tensor:
        return spread * torch.randn(n, count, generator=generator, device=device).clamp(-2, 2)

    # Size: of the body, of the organ in it, and of the cut through the organ at the height of this slice.
    cut = (1 - ((0.05 + 0.9 * uniform(1) - level) / reach) ** 2).clamp(0).sqrt() * (uniform(len(_SHAPES)) >= removed)
    high, wide = 0.72 * (1 + vary(0.06, 1)), 0.88 * (1 + vary(0.06, 1))
    height = (height * high * (1 + vary(0.15)) * cut).clamp(1e-3)  # (n, shapes), in units of half an image
    width = (width * wide * (1 + vary(0.15)) * cut).clamp(1e-3)

    # Place and tilt: the body turns as a whole and takes the organs along.
    turn, down, right = vary(0.12, 1), (row + vary(1.0) * wander) * high, (column + vary(1.0) * wander) * wide
    rows = vary(0.08, 1) + down * turn.cos() + right * turn.sin()
    columns = vary(0.08, 1) + right * turn.cos() - down * turn.sin()
    angle = turn + tilt.deg2rad() + vary(0.2) * (wander > 0)

    # Form: inside is where ellipse(r, c) + wave(r, c) < 1, with r and c from -1 to 1 over the ellipse. A pixel's share
    # of the inside is 0.5 + its distance from the border, in pixels about (1 - ellipse - wave) radius / 2.
    sin, cos, there = angle.sin(), angle.cos(), cut > 0
    tall, broad = (height * cos).hypot(width * sin), (height * sin).hypot(width * cos)
    steep = (height * width).sqrt() * size / 4 * there
    share_of = torch.zeros(n, len(_SHAPES), 4, 4, device=device)  # coefficients: a function of r times one of c
    share_of[..., 0, 0] = 0.5 * there + steep
    share_of[..., 2, 0] = -steep * tall**2 * ((cos / height) ** 2 + (sin / width) ** 2)
    share_of[..., 0, 2] = -steep * broad**2 * ((cos / width) ** 2 + (sin / height) ** 2)
    share_of[..., 1, 1] = -steep * tall * broad * 2 * sin * cos * (width**-2 - height**-2)
    share_of[..., 3, 3] = -steep * (0.5 * uniform(len(_SHAPES)) - 0.25)
    line = _line(size, device)
    along_rows = _four_functions((line - rows[..., None]) / tall[..., None], uniform(len(_SHAPES), 1))
    along_columns = _four_functions((line - columns[..., None]) / broad[..., None], uniform(len(_SHAPES), 1))

    # Draw each shape in the smallest window that holds it in all of these images.
    windows = []
    for middle, half in ((rows, tall), (columns, broad)):
        half = 1.12 * half + 2 / size  # f < 1 + 0.25 at most: the wave takes the border out by an eighth
        ends = [(middle - half).where(there, 2.0).amin(0), (middle + half).where(there, -2.0).amax(0)]
        windows += [((end + 1) / 2 * size).round().clamp(0, size).long().tolist() for end in ends]
    grey = grey + vary(1.0) * shades
    x.zero_(), labels.zero_()
    for s, (name, top, bottom, left, right) in enumerate(zip(_SHAPES, *windows)):
        if top >= bottom or left >= right:  # nobody has it
            continue
        share = paint[: n * (bottom - top) * (right - left)].view(n, bottom - top, right - left)
        by_row = along_rows[:, s, :, top:bottom].mT @ share_of[:, s]
        torch.bmm(by_row, along_columns[:, s, :, left:right], out=share)
        x[:, top:bottom, left:right].lerp_(grey[:, s, None, None], share.clamp_(0, 1))
        if name in _LABELS:  # drawn as grey values are, but with hard borders
            label = torch.tensor(float(_LABELS[name]), device=device)
            labels[:, top:bottom, left:right].lerp_(label, share.gt_(0.5))


def _line(size: int, device: torch.device) -> Tensor:
    """The middles of the pixels along an image from -1 to 1."""
    return (torch.arange(size, device=device) + 0.5) / size * 2 - 1


def _four_functions(t: Tensor, phase: Tensor) -> Tensor:
    """1, t and t^2 for an ellipse, and a wave: (..., size) -> (..., 4, size)."""
    return torch.stack([torch.ones_like(t), t, t**2, (1.3 * math.pi * t + 2 * math.pi * phase).cos()], -2)


def _scan(x: Tensor, noise: float, paint: Tensor, generator: torch.Generator) -> None:
    """Put images x (n, size, size) through a scanner: gain, uneven brightness, offset, noise; ``paint`` is memory."""
    n, size, device = len(x), x.shape[1], x.device

    def vary(spread: float, *shape: int) -> Tensor:
        return spread * torch.randn(n, *shape, generator=generator, device=device).clamp(-2, 2)

    line = _line(size, device)
    smooth = torch.stack([torch.ones_like(line), line, line**2 - 1 / 3], 1)  # (size, 3)
    field = vary(0.06, 3, 3)
    field[:, 0, 0] += 1
    paint = paint[: x.numel()].view_as(x)
    x.mul_(torch.matmul(smooth @ field, smooth.T, out=paint)).add_(vary(0.04, 1, 1))
    x.add_(paint.normal_(generator=generator), alpha=noise)
