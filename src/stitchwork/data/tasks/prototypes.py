"""A value that no image holds, but that is the same in all of them."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start


def prototypes(
    n: int,
    *,
    count: int = 16,
    dim: int = 8,
    noise: float = 0.5,
    size: int = 8,
    seed: int = 0,
    prototype_seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Say of every pixel whether it is a noisy copy of one of the good prototypes or of one of the bad ones.

    The property is *a memory that all images share*. The prototypes are random vectors of length sqrt(dim), the same
    for all images; half of them mean +1 and half -1, at random, and no image says which. Nothing that another pixel
    holds is needed. With more prototypes than numbers in a pixel no linear map can do it. The noise leaves some doubt:
    :func:`prototypes_posterior` gives the best answer there is.

    Args:
        n: number of samples.
        count: number of prototypes, even.
        dim: numbers in each.
        noise: standard deviation of what is added to each number of each pixel.
        size: side of the images in pixels.
        seed: decides the samples.
        prototype_seed: decides the prototypes and what they mean.
        device: where the samples are made.

    Returns:
        x (n, dim, size, size): the noisy copies; y (n, 1, size, size): +1 or -1.

    Raises:
        ValueError: ``n``, ``count``, ``dim`` or ``size`` is too small, ``count`` is odd, or ``noise`` is negative.
    """
    generator = start("prototypes", n, size, seed, device, count=count, dim=dim)
    if count % 2:
        raise ValueError(f"prototypes: count must be even, one half for each answer; got {count}")
    if noise < 0:
        raise ValueError(f"prototypes: noise must be 0 or more; got {noise}")
    table, meaning = _memory(count, dim, prototype_seed)
    choice = torch.randint(count, (n, size, size), generator=generator, device=device)
    x = table.to(device)[choice].movedim(3, 1)  # (n, dim, size, size)
    x = x + noise * torch.randn(x.shape, generator=generator, device=device)
    return x, meaning.to(device)[choice][:, None]


def prototypes_posterior(x: Tensor, *, count: int = 16, noise: float = 0.5, prototype_seed: int = 0) -> Tensor:
    """The best possible answer to ``x``: the mean of +1 and -1, weighed by how likely each prototype is.

    Args:
        x: images of :func:`prototypes`, (n, dim, H, W).
        count: number of prototypes.
        noise: the standard deviation with which the images were made, greater than 0.
        prototype_seed: the seed with which they were made.

    Returns:
        (n, 1, H, W), between -1 and 1; no other function of the image has a smaller mean squared error.
    """
    table, meaning = (t.to(x) for t in _memory(count, x.shape[1], prototype_seed))
    distance = (x[:, None] - table[..., None, None]).square().sum(2)  # (n, count, H, W)
    likely = (-distance / (2 * noise**2)).softmax(1)
    return (likely * meaning[:, None, None]).sum(1, keepdim=True)


def _memory(count: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """The prototypes (count, dim) and what they mean (count,), always made on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(count, dim, generator=generator)
    table = dim**0.5 * table / table.norm(dim=1, keepdim=True)
    meaning = 1 - 2 * (torch.randperm(count, generator=generator) % 2).float()
    return table, meaning
