"""Objects of several sizes, each asked for by its name."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stitchwork.data.tasks.draw import start


def objects_in_clutter(
    n: int,
    *,
    size: int = 16,
    sides: Sequence[int] = (1, 2, 4),
    asked: Sequence[int] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Return, in every pixel, the value of an object somewhere in the image, which it asks for by name.

    The property is *how small a thing can still be asked for*. An image has one square object of each of the ``sides``.
    All pixels of an object have the same name and the same value; every other pixel is clutter, with a name and a value
    of its own. Names are codes of bits, shuffled anew in each image, and values are drawn from N(0, 1). The question of
    a pixel is the name of one of the objects, and the answer is that object's value. A comparison of the question with
    the names of all pixels solves it for every size.

    An object of side a lies on the grid of squares of a x a, so a cell of s x s pixels, s a multiple of a, contains all
    of it or none of it. Who keeps of each cell the mean, and knows the right cell, still sees the value a² v in a sum
    with s² - a² others, and can do no better than

        error(a, s) = (s² - a²) / (a⁴ + s² - a²),       0 where a >= s,

    if clutter is all else in the cell. Whoever does not know the object does best with 0, whose error is 1.

    Args:
        n: number of samples.
        size: side of the images in pixels, a multiple of all ``sides``.
        sides: of the objects, one object each; together they cover at most half of the image.
        asked: sides of the objects that are asked for, each equally often; without it all of them.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 2 K + 1, size, size): K bits of the name, K bits of the question, each -1 or 1, and the value;
        y (n, 1, size, size): the value of the object that is asked for. K is 8 for 16 x 16 pixels.

    Raises:
        ValueError: ``n`` or ``size`` is too small; a side is not positive, is there twice or does not divide ``size``;
            the objects cover more than half of the image; ``asked`` is empty or not among the ``sides``.
    """
    sides = tuple(sides)
    asked = sides if asked is None else tuple(asked)
    generator = start("objects_in_clutter", n, size, seed, device, least=2)
    if not sides or len(set(sides)) < len(sides) or min(sides) < 1 or any(size % side for side in sides):
        raise ValueError(f"objects_in_clutter: sides must be different divisors of size={size}; got {sides}")
    if 2 * sum(side**2 for side in sides) > size**2:
        raise ValueError(f"objects_in_clutter: sides must cover at most half of {size} x {size} pixels; got {sides}")
    if not asked or not set(asked) <= set(sides):
        raise ValueError(f"objects_in_clutter: asked must be some of the sides {sides}; got {asked}")
    pixels, bits = size**2, (size**2 - 1).bit_length()
    own = torch.arange(pixels, device=device).view(1, size, size).expand(n, -1, -1)  # a number for every pixel
    taken = torch.zeros(n, 1, size, size, device=device)
    number = {}
    for side in sorted(sides, reverse=True):
        free = 1 - F.max_pool2d(taken, side).flatten(1)  # (n, squares): those without an object
        square = free.multinomial(1, generator=generator)  # (n, 1)
        here = torch.zeros_like(free).scatter_(1, square, 1).unflatten(1, (1, size // side, -1))
        here = F.interpolate(here, (size, size))  # (n, 1, size, size)
        columns = size // side
        number[side] = side * (square // columns * size + square % columns)  # (n, 1): that of its first pixel
        taken = taken + here
        own = torch.where(here[:, 0] > 0, number[side][:, :, None], own)

    codes = torch.rand(n, 2**bits, generator=generator, device=device).argsort(1)[:, :pixels]
    powers = 2 ** torch.arange(bits, device=device)[:, None]
    names = 2.0 * (codes[:, None] // powers % 2) - 1  # (n, K, pixels)
    values = torch.randn(n, 1, pixels, generator=generator, device=device)
    choice = torch.randint(len(asked), (n, pixels), generator=generator, device=device)
    wanted = torch.cat([number[side] for side in asked], 1).gather(1, choice)  # (n, pixels)

    def of(numbers: Tensor, table: Tensor) -> Tensor:
        return table.gather(2, numbers[:, None].expand(-1, table.shape[1], -1)).unflatten(2, (size, size))

    own = own.flatten(1)
    return torch.cat([of(own, names), of(wanted, names), of(own, values)], 1), of(wanted, values)
