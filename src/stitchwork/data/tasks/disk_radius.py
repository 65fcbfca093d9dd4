"""An object whose size is the question."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stitchwork.data.tasks.draw import start


def disk_radius(
    n: int,
    *,
    size: int = 16,
    disks: int = 1,
    radii: Sequence[int] = (2, 3, 4, 5, 6, 7),
    noise: float = 0.3,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Every pixel of a disk must say how large its disk is; all other pixels say nothing.

    The property is *how far a pixel sees*. Deep in a large disk, a small window shows nothing but disk, and so it does
    in a disk that is larger still. There is a short cut with a single disk: the mean over the image is the disk's
    area, and whoever has it need not look at the disk at all. With several disks in an image, side by side and each
    of a radius of its own, the mean tells the sum of their areas and of none its own; nothing else has changed.
    Whoever knows the pixels of a disk, but not its radius, does best with 0 everywhere, whose error is 1.

    Args:
        n: number of samples.
        size: rows of the images, more than twice the largest radius; a disk has as many columns for itself.
        disks: disks in an image.
        radii: what a radius is drawn from, in pixels; at least two that differ.
        noise: standard deviation of the noise in every pixel; inside a disk there is 1 below it, outside 0.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 1, size, disks · size): the disks in noise; y of the same shape: the radius, less its mean over all pixels
        of disks and scaled to mean square 1, in the disks and 0 elsewhere.

    Raises:
        ValueError: ``n``, ``size`` or ``disks`` is too small, a radius is not positive, all are equal, or ``noise`` is
            negative.
    """
    if min(radii, default=0) < 1 or len(set(radii)) < 2:
        raise ValueError(f"disk_radius: radii must be at least two different positive numbers; got {tuple(radii)}")
    if noise < 0:
        raise ValueError(f"disk_radius: noise must be 0 or more; got {noise}")
    generator = start("disk_radius", n, size, seed, device, least=2 * max(radii) + 1, disks=disks)
    shapes, answers = _disks(radii, size, device)
    which = torch.randint(len(radii), (n, disks), generator=generator, device=device)
    down = torch.randint(size, (n, disks, 1), generator=generator, device=device)
    rows = (torch.arange(size, device=device) + down) % size  # (n, disks, size)
    inside = shapes[which[..., None], rows]  # (n, disks, size, size), each disk moved down the ring of rows
    answer = inside * answers[which][..., None, None]
    along = torch.randint(disks * size, (n, 1), generator=generator, device=device)
    columns = (torch.arange(disks * size, device=device) + along) % (disks * size)  # (n, disks size)
    inside, answer = (
        t.transpose(1, 2).flatten(2).gather(2, columns[:, None].expand(-1, size, -1))[:, None]
        for t in (inside.to(torch.float32), answer)
    )  # (n, 1, size, disks size), all of them moved along together
    return inside + noise * torch.randn(inside.shape, generator=generator, device=device), answer


def disk_radius_floor(
    window: int,
    *,
    size: int = 16,
    radii: Sequence[int] = (2, 3, 4, 5, 6, 7),
    noise: float = 0.3,
    draws: int = 4,
    seed: int = 0,
) -> float:
    """The least error in :func:`disk_radius` of whoever sees, around each pixel, a square window and nothing else.

    Such a one can do no better than the mean of the answers, weighted by how well each place in each disk explains the
    window (Bayes' rule for Gaussian noise). The error of that answer is measured at every place in every disk. That
    there is one disk in the image is taken as known, and its mean is not.

    Args:
        window: side of the window in pixels, odd and at most ``size``.
        size, radii, noise: of the task; ``noise`` greater than 0.
        draws: how often new noise is laid over every window.
        seed: of that noise.

    Raises:
        ValueError: ``window`` is even or does not fit into the image, or ``noise`` is not greater than 0.
    """
    if window % 2 == 0 or not 0 < window <= size:
        raise ValueError(f"disk_radius_floor: window must be odd and at most size={size}; got {window}")
    if noise <= 0:
        raise ValueError(f"disk_radius_floor: noise must be greater than 0; got {noise}")
    disks, answers = _disks(radii, size)
    margin = window // 2
    wrapped = F.pad(disks[:, None].float(), [margin] * 4, mode="circular")  # (R, 1, size + window - 1, ...)
    seen = F.unfold(wrapped, window).transpose(1, 2).flatten(0, 1)  # (R size^2, window^2): one row a place
    y = (disks * answers[:, None, None]).flatten()  # (R size^2,)
    generator, error = torch.Generator().manual_seed(seed), 0.0
    for _ in range(draws):
        noisy = seen + noise * torch.randn(seen.shape, generator=generator)
        fit = (noisy @ seen.T - seen.square().sum(1) / 2) / noise**2  # log likelihood of each place, but for a constant
        error += (fit.softmax(1) @ y - y).square().mean().item() / draws
    return error


def _disks(radii: Sequence[int], size: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """One disk of each radius in the middle of an image, (R, size, size), and what its pixels must say, (R,)."""
    values = torch.tensor(radii, dtype=torch.float32, device=device)
    offset = torch.arange(size, device=device) - size // 2
    disks = offset[:, None] ** 2 + offset**2 <= (values[:, None, None] + 0.5) ** 2
    areas = disks.sum((1, 2))
    centred = values - (areas * values).sum() / areas.sum()
    return disks, centred / math.sqrt((areas * centred**2).sum() / (len(radii) * size**2))
