"""One pixel has something to say to all the others."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start


def announcement(
    n: int, *, values: int = 4, size: int = 12, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return to every pixel the signs that one pixel, the speaker, holds; all other pixels are silent.

    The property is *a way from every pixel to every other*. The speaker may be any pixel. A pixel to which a way leads
    from the speaker can know the answer. To all others the answer is independent of everything they see, and 0 is the
    best that they can say. So a network in which ways lead from a share s of all pixels to a pixel, in the mean, has
    an error of at least 1 - s.

    Args:
        n: number of samples.
        values: signs that the speaker holds.
        size: side of the images in pixels.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, values, size, size): plus or minus ``size`` at the speaker, of mean square 1, and 0 elsewhere;
        y (n, values, size, size): the speaker's signs, everywhere.

    Raises:
        ValueError: ``n``, ``values`` or ``size`` is too small.
    """
    generator = start("announcement", n, size, seed, device, values=values)
    signs = 2.0 * torch.randint(2, (n, values, 1), generator=generator, device=device) - 1
    speaker = torch.randint(size**2, (n, 1, 1), generator=generator, device=device).expand(n, values, 1)
    x = torch.zeros(n, values, size**2, device=device).scatter(2, speaker, size * signs)
    return x.unflatten(2, (size, size)), signs[..., None].repeat(1, 1, size, size)
