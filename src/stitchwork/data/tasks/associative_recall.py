"""A value that another pixel of the same image holds, to be found by a key."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start


def associative_recall(
    n: int,
    *,
    pairs: int = 4,
    dim: int = 8,
    values: int = 8,
    size: int = 8,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Return to every pixel the values that belong to its key; the image itself says which values these are.

    The property is *a comparison of contents, pixel with pixel*. Each image has a few keys, random vectors of length
    sqrt(dim) that no other image has. For each key one pixel, anywhere, holds values; all the others hold nothing but
    a key, and must answer with the values of the pixel that has the same. So neither the place of a pixel nor anything
    learned from other images helps: what is needed is a table from keys to values, made anew in each image. Who adds
    up the products of all keys and values gets, in the place of v_p, the sum over r of cos(k_p, k_r) v_r; the best
    multiple of that has the error (pairs - 1) / (dim + pairs - 1). The pixels that hold values answer 0.

    Args:
        n: number of samples.
        pairs: keys in an image, less than size².
        dim: numbers in a key.
        values: numbers that belong to each key.
        size: side of the images in pixels.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, dim + values + 1, size, size): the key; the values, where they are held, else 0; 1 where they are held.
        y (n, values, size, size).

    Raises:
        ValueError: ``n``, ``pairs``, ``dim``, ``values`` or ``size`` is too small, or ``pairs`` too large for the size.
    """
    generator = start("associative_recall", n, size, seed, device, pairs=pairs, dim=dim, values=values)
    pixels = size**2
    if pairs >= pixels:
        raise ValueError(f"associative_recall: pairs must be less than size² = {pixels}; got {pairs}")
    keys = torch.randn(n, dim, pairs, generator=generator, device=device)
    keys = dim**0.5 * keys / keys.norm(dim=1, keepdim=True)
    held = torch.randn(n, values, pairs, generator=generator, device=device)
    # The first pixels of a random order hold the values, key by key; the others draw their keys.
    order = torch.rand(n, 1, pixels, generator=generator, device=device).argsort(2)
    choice = torch.randint(pairs, (n, 1, pixels), generator=generator, device=device)
    choice = torch.where(order < pairs, order, choice)
    told = (order < pairs).float()
    value = held.take_along_dim(choice, 2)
    x = torch.cat([keys.take_along_dim(choice, 2), told * value, told], 1)
    y = (pixels / (pixels - pairs)) ** 0.5 * (1 - told) * value
    return x.reshape(n, -1, size, size), y.reshape(n, values, size, size)
