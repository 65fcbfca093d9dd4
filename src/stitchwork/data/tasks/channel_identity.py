"""A choice of channel by a summary of the whole image."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import consecutive, start


def channel_identity(
    n: int, *, size: int = 16, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return one of two textures; a small cue, anywhere in the image, says which.

    The property is *a choice of channel by a summary of the whole image*. The cue is a patch of 4 x 4 pixels in a
    plane of its own, all positive or all negative: its sign asks for texture A or texture B in **every** pixel. A
    convolution knows the cue only where its kernel reaches; the mean over the image, +1 or -1, tells it everywhere.
    So a module that scales channels by a global summary (SE, CBAM) can solve the task, and a convolution without one
    can be right only around the cue. Whoever does not know the cue does best with the mean of both textures, whose
    error is 1/2.

    Args:
        n: number of samples.
        size: side of the images in pixels, at least 4.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 3, size, size): texture A, texture B and the cue; y (n, 1, size, size): the chosen texture.

    Raises:
        ValueError: ``n`` or ``size`` is too small.
    """
    generator = start("channel_identity", n, size, seed, device, least=4)
    textures = torch.randn(n, 2, size, size, generator=generator, device=device)
    choice = torch.randint(2, (n, 1, 1), generator=generator, device=device)
    rows, columns = consecutive(n, size, 4, generator, device), consecutive(n, size, 4, generator, device)
    cue = (rows[:, :, None] & columns[:, None, :]) * (1.0 - 2.0 * choice) * size**2 / 16  # (n, size, size), mean +-1
    x = torch.cat([textures, cue[:, None]], 1)
    return x, torch.where(choice[..., None] == 0, textures[:, :1], textures[:, 1:])
