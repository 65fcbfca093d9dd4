"""Another pixel's value, found by its name."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start

WHERE = ("near", "line", "together", "anywhere")


def partner_lookup(
    n: int, *, where: str = "anywhere", size: int = 8, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return, in every pixel, the value of another pixel of the image, which it asks for by name.

    The property is *a look-up by content*. Each pixel has a name, a question and a value. The name is a code of bits
    that no other pixel of the image has: two bits name its place in a patch of 2 x 2 pixels, the others the patch. Both
    are shuffled anew in every image. The question is the name of another pixel, the partner, and the answer is the
    partner's value, a number drawn from N(0, 1). Only ``where`` the partner is differs:

        near        in the 3 x 3 pixels around
        line        in the same row or the same column
        together    anywhere in another patch, the same one for all four pixels of a patch
        anywhere    in any other pixel

    One comparison of the question with all names solves it, if the pixels that are compared contain the partner. Who
    finds the patch and not the pixel in it is left with an error of 3/4. Who compares nothing can do no better than
    the mean of all that may be meant: the value is independent of everything else, so the error is 1 less one over the
    number of pixels among which the partner may be.

    Args:
        n: number of samples.
        where: the partners are: "near", "line", "together" or "anywhere".
        size: side of the images in pixels; even, at least 4.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 2 K + 1, size, size): K bits of the name, the same K bits of the question, each -1 or 1, and the value;
        y (n, 1, size, size): the partner's value. K is 6 for 8 x 8 pixels.

    Raises:
        ValueError: ``where`` is none of the four; ``size`` is odd; ``n`` or ``size`` is too small.
    """
    if where not in WHERE:
        raise ValueError(f"partner_lookup: where must be one of {', '.join(WHERE)}; got {where!r}")
    generator = start("partner_lookup", n, size, seed, device, least=4)
    if size % 2:
        raise ValueError(f"partner_lookup: size must be even, for patches of 2 x 2; got {size}")
    pixels, patches = size**2, size**2 // 4
    bits = (patches - 1).bit_length()
    row, column = torch.arange(pixels, device=device) // size, torch.arange(pixels, device=device) % size
    patch, place = row // 2 * (size // 2) + column // 2, row % 2 * 2 + column % 2  # (pixels,)

    shuffled = torch.rand(n, 2**bits, generator=generator, device=device).argsort(1)[:, :patches]
    places = torch.rand(n, patches, 4, generator=generator, device=device).argsort(2)
    number = 4 * shuffled[:, patch] + places[:, patch, place]  # (n, pixels)
    powers = 2 ** torch.arange(bits + 2, device=device)
    names = 2.0 * (number[:, None] // powers[:, None] % 2) - 1  # (n, K, pixels)

    if where == "together":
        step = torch.randint(1, patches, (n, patches), generator=generator, device=device)
        other = (torch.arange(patches, device=device) + step) % patches  # another patch
        allowed = other[:, patch, None] == patch  # (n, pixels, pixels)
    else:
        down, right = (row[:, None] - row).abs(), (column[:, None] - column).abs()
        allowed = {
            "near": (down <= 1) & (right <= 1),
            "line": (down == 0) | (right == 0),
            "anywhere": torch.ones_like(down, dtype=torch.bool),
        }[where]
        allowed = (allowed & (down + right > 0)).expand(n, -1, -1)  # never itself
    partner = allowed.flatten(0, 1).float().multinomial(1, generator=generator).view(n, 1, pixels)

    values = torch.randn(n, 1, pixels, generator=generator, device=device)
    x = torch.cat([names, names.gather(2, partner.expand_as(names)), values], 1)
    return x.unflatten(2, (size, size)), values.gather(2, partner).unflatten(2, (size, size))
