"""A choice of channel by a pattern that has no mean."""

import math

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start


def stripes(
    n: int, *, size: int = 14, periods: int = 3, noise: float = 1.0, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return one of two textures; whether the stripes of a third plane lie or stand says which.

    The property is *a summary of the image at another frequency than zero*. Lying stripes ask for texture A in every
    pixel, upright ones for texture B. They are cosines with a whole number of periods and a random phase, under noise
    whose mean is taken away: the plane has mean zero, exactly, in every image. So has every linear convolution of it
    (with circular padding), and a module that summarises channels by their means (SE, ECA) cannot know the answer
    behind a linear layer. A cosine of the same frequency, multiplied by the plane and summed over the image, tells it
    at a glance. Whoever does not know it does best with the mean of both textures, whose error is 1/2.

    Args:
        n: number of samples.
        size: side of the images in pixels, more than twice ``periods``.
        periods: of the stripes over the side of the image.
        noise: standard deviation of the noise on the stripes, whose own is 1.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 3, size, size): texture A, texture B and the stripes; y (n, 1, size, size): the chosen texture.

    Raises:
        ValueError: ``n``, ``size`` or ``periods`` is too small, or ``noise`` is negative.
    """
    generator = start("stripes", n, size, seed, device, least=2 * max(periods, 1) + 1, periods=periods)
    if noise < 0:
        raise ValueError(f"stripes: noise must be 0 or more; got {noise}")
    textures = torch.randn(n, 2, size, size, generator=generator, device=device)
    upright = torch.randint(2, (n, 1, 1), generator=generator, device=device)
    phase = torch.rand(n, 1, generator=generator, device=device)
    wave = torch.cos(2 * math.pi * (torch.arange(size, device=device) * periods / size + phase))  # (n, size)
    plane = math.sqrt(2) * torch.where(upright == 0, wave[:, :, None], wave[:, None, :])  # (n, size, size)
    plane = plane + noise * torch.randn(n, size, size, generator=generator, device=device)
    plane = plane - plane.mean((1, 2), keepdim=True)
    x = torch.cat([textures, plane[:, None]], 1)
    return x, torch.where(upright[..., None] == 0, textures[:, :1], textures[:, 1:])
