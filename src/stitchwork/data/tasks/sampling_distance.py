"""A place to look at that the input names."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start


def sampling_distance(
    n: int, *, size: int = 16, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return a texture moved to the left by as many pixels as a second, constant plane says, between 1 and 3.

    The property is *a place to look at that depends on the input*. The texture is white noise, and the distance s is
    one real number an image, uniform from 1 to 3; between two pixels the texture is interpolated linearly, and to the
    right of the image there are zeros:

        y(i, j) = sqrt(3/2) ((1 - f) t(i, j + m) + f t(i, j + m + 1)),   s = m + f,   m whole, 0 <= f < 1

    One tap that moves by s solves it, so a deformable convolution can, with linear layers alone. No convolution can,
    however large: on the average over s its best weights for j + 1, j + 2, j + 3 are 1/4, 1/2, 1/4, and that leaves
    7/16 of the target. Layers that are not linear can do better, if they see far enough: with two pixels to the right
    they cannot get below 1/4, with one pixel not below 3/4.

    Args:
        n: number of samples.
        size: side of the images in pixels, at least 4.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 2, size, size): the texture, and s - 2 in every pixel; y (n, 1, size, size): the texture, moved. Its mean
        square is 1 in the columns that no zero reaches, all but the last three.

    Raises:
        ValueError: ``n`` or ``size`` is too small.
    """
    generator = start("sampling_distance", n, size, seed, device, least=4)
    texture = torch.randn(n, size, size, generator=generator, device=device)
    distance = 1 + 2 * torch.rand(n, 1, 1, generator=generator, device=device)
    padded = torch.cat([texture, texture.new_zeros(n, size, 4)], 2)
    y = torch.zeros_like(texture)
    for pixels in (1, 2, 3):
        share = (1 - (distance - pixels).abs()).clamp(min=0)  # linear interpolation
        y += 1.5**0.5 * share * padded[:, :, pixels : pixels + size]
    return torch.stack([texture, (distance - 2).expand_as(texture)], 1), y[:, None]
