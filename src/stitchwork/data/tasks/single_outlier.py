"""A choice of channel by one pixel, of which the mean does not know."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start


def single_outlier(
    n: int, *, size: int = 16, amplitude: float = 8.0, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return one of two textures; a single outlier in the noise of a third plane says which.

    The property is *a summary that notices one pixel among all the others*. The third plane is unit noise, but for one
    pixel, anywhere, of +amplitude or -amplitude: its sign asks for texture A or texture B in **every** pixel. Then the
    mean of the plane is taken away: it is zero, exactly, whatever the sign. So is that of every linear convolution of
    it (with circular padding), up to a constant, and a module that summarises channels by their means alone (SE)
    knows nothing behind a linear layer. The largest value of the plane is the amplitude in one case and no more than
    noise has in the other: a maximum (CBAM) tells it at once. Whoever has not seen the pixel does best with the mean
    of both textures, whose error is 1/2.

    Args:
        n: number of samples.
        size: side of the images in pixels.
        amplitude: of the outlier; 256 normal numbers seldom exceed 3.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 3, size, size): texture A, texture B and the plane with the outlier; y (n, 1, size, size): the chosen
        texture.

    Raises:
        ValueError: ``n`` or ``size`` is too small, or ``amplitude`` is not positive.
    """
    generator = start("single_outlier", n, size, seed, device, least=2)
    if not amplitude > 0:
        raise ValueError(f"single_outlier: amplitude must be positive; got {amplitude}")
    textures = torch.randn(n, 2, size, size, generator=generator, device=device)
    choice = torch.randint(2, (n, 1), generator=generator, device=device)
    place = torch.randint(size**2, (n, 1), generator=generator, device=device)
    plane = torch.randn(n, size**2, generator=generator, device=device)
    plane = plane.scatter(1, place, amplitude * (1.0 - 2.0 * choice))
    plane = (plane - plane.mean(1, keepdim=True)).view(n, 1, size, size)
    return torch.cat([textures, plane], 1), torch.where(choice[..., None, None] == 0, textures[:, :1], textures[:, 1:])
