"""What the partner of a pixel holds, a given way off."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start


def far_pairs(
    n: int, *, distance: int = 8, pairs: int = 4, size: int = 14, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return, at each marked pixel, what its partner holds, ``distance`` pixels away.

    The property is *news from so far away*. Most pixels are empty. The marked ones come in pairs that fit like a lock
    and its key: one has a code of bits that no other pair of the image has, the other has the same code negated. Both
    hold a number from N(0, 1), and each must give the number of its partner. The two are ``distance`` rows or columns
    apart, whichever are more; everything else about their places is drawn.

    One comparison of marks solves it where the partner is among the pixels that are compared. The number is independent
    of all else, so whoever cannot hear of the partner does best with 0, and has an error of 1. Nothing is taken modulo
    the image here: far is far.

    Args:
        n: number of samples.
        distance: between the pixels of a pair; at least 1, less than ``size``.
        pairs: pairs of an image; at most half of ``size``.
        size: side of the images in pixels, at least 2.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, K + 1, size, size): K bits of the mark, -1 or 1, and the number held, zeros in an empty pixel; K is 3 for
        4 pairs. y (n, 1, size, size): the partner's number, brought to mean square 1 over the image; 0 in an empty
        pixel.

    Raises:
        ValueError: ``n``, ``distance``, ``pairs`` or ``size`` is too small; ``distance`` or ``pairs`` is too large for
            ``size``.
    """
    generator = start("far_pairs", n, size, seed, device, least=2, distance=distance, pairs=pairs)
    if distance >= size:
        raise ValueError(f"far_pairs: distance must be less than size={size}; got {distance}")
    if pairs > size // 2:
        raise ValueError(f"far_pairs: pairs must be at most half of size={size}; got {pairs}")
    place = torch.arange(size**2, device=device)
    down, right = (place[:, None] // size - place // size).abs(), (place[:, None] % size - place % size).abs()
    first, second = (torch.maximum(down, right) == distance).nonzero(as_tuple=True)  # (M,) each, in either order

    chosen, free = [], torch.ones(n, len(first), device=device)
    for _ in range(pairs):
        pick = free.multinomial(1, generator=generator)  # (n, 1)
        ends = torch.cat([first[pick], second[pick]], 1)  # (n, 2)
        chosen.append(ends)
        touched = (first == ends[..., None]) | (second == ends[..., None])  # (n, 2, M)
        free = free.masked_fill(touched.any(1), 0)
    at = torch.cat(chosen, 1)[:, None]  # (n, 1, 2 pairs), partners side by side

    bits = (pairs - 1).bit_length() + 1
    number = torch.rand(n, 2 ** (bits - 1), generator=generator, device=device).argsort(1)[:, :pairs]
    powers = 2 ** torch.arange(bits, device=device)
    code = 2.0 * ((2 * number + 1)[..., None] // powers % 2) - 1  # (n, pairs, K): the first bit says: key
    marks = torch.stack([code, -code], 2).flatten(1, 2).mT  # (n, K, 2 pairs)
    values = torch.randn(n, pairs, 2, generator=generator, device=device)

    x, y = (torch.zeros(n, planes, size**2, device=device) for planes in (bits + 1, 1))
    x.scatter_(2, at.expand(-1, bits + 1, -1), torch.cat([marks, values.flatten(1)[:, None]], 1))
    y.scatter_(2, at, values.flip(2).flatten(1)[:, None] * (size**2 / (2 * pairs)) ** 0.5)
    return x.unflatten(2, (size, size)), y.unflatten(2, (size, size))
