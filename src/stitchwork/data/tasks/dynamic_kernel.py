"""A kernel that every pixel chooses by what it contains."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start

NEIGHBOURS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
"""The eight places around a pixel, as (rows down, columns to the right), in the order of a kernel's weights."""


def dynamic_kernel(
    n: int,
    *,
    values: int = 8,
    size: int = 16,
    told: str = "name",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Copy to every pixel the values of one of its eight neighbours; the pixel itself says of which.

    The property is *weights that are made from the content*: with the right 3 x 3 kernel the task is one convolution,
    but the kernel is another one at each pixel. There are two ways to say which:

    * ``"name"``: the pixel's code has one entry for each neighbour, and that of the wanted one is not zero. The code
      alone gives the kernel.
    * ``"likeness"``: every pixel also wears a label, and the code is the label of the wanted neighbour. The kernel is
      known only to one who compares the code with the eight labels.

    Values, choices and labels are drawn alike in both, so for one seed the answers are the same numbers. A fixed
    kernel does best with 1/8 for each neighbour, whose error is 7/8; a pixel that does not look around itself has 1.

    Args:
        n: number of samples.
        values: numbers that every pixel has, and hands on together.
        size: side of the images in pixels, at least 3.
        told: how a pixel says which neighbour it wants, ``"name"`` or ``"likeness"``.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, values + 16, size, size): the values, the code, the label; y (n, values, size, size): the values of the
        wanted neighbour.

    Raises:
        ValueError: ``n``, ``values`` or ``size`` is too small, or ``told`` is another word.
    """
    generator = start("dynamic_kernel", n, size, seed, device, least=3, values=values)
    if told not in ("name", "likeness"):
        raise ValueError(f"dynamic_kernel: told must be 'name' or 'likeness'; got {told!r}")
    value = torch.randn(n, values, size, size, generator=generator, device=device)
    label = torch.randn(n, 8, size, size, generator=generator, device=device)
    label = 8**0.5 * label / label.norm(dim=1, keepdim=True)
    choice = torch.randint(8, (n, 1, size, size), generator=generator, device=device)

    def of_neighbours(planes: Tensor) -> Tensor:
        """Those of the chosen neighbour, (n, C, size, size)."""
        moved = torch.stack([planes.roll((-i, -j), (2, 3)) for i, j in NEIGHBOURS], 2)  # (n, C, 8, size, size)
        return moved.take_along_dim(choice[:, None], 2)[:, :, 0]

    if told == "name":
        numbers = torch.arange(8, device=device)[:, None, None]
        code = 8**0.5 * (choice == numbers)  # (n, 8, size, size)
    else:
        code = of_neighbours(label)
    return torch.cat([value, code, label], 1), of_neighbours(value)
