"""Another pixel's value, and four ways to say whose."""

import torch
from torch import Tensor

from stitchwork.data.tasks.draw import start

RULES = ("name", "step", "mirror", "direction")
BITS = 6


def whom_to_ask(
    n: int,
    *,
    rule: str = "name",
    step: tuple[int, int] = (1, 2),
    size: int = 6,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Return, in every pixel, the value of another pixel of the image; the ``rule`` says whose.

    The property is *how a pixel knows whom to ask*. Every pixel has a name, six bits that no other pixel of its image
    has and that are dealt out anew in each, a question, and a value, a number drawn from N(0, 1). Asked is:

    * name: the pixel whose name is the question: by content alone;
    * step: the pixel at a fixed offset, the same for all pixels: by the relative place alone;
    * mirror: the pixel at the opposite place of the image: by both absolute places (where the size is odd, the middle
      asks itself);
    * direction: the pixel below, above, to the right or to the left, whichever the question says: by the relative place
      and the content together.

    The values are independent of everything else, so whoever cannot tell the pixel in question from m - 1 others is
    left with an error of 1 - 1/m. Who is blind to places answers a permuted image with the permuted answer: that is
    right for names, and hopeless for the rest. Who adds what content and places say to a choice, each by itself, cannot
    follow a direction but by a trick: among the neighbours, the lowest one is below.

    Args:
        n: number of samples.
        rule: "name", "step", "mirror" or "direction".
        step: rows down and columns to the right, for the rule "step"; not a multiple of ``size`` in both.
        size: side of the images in pixels, 3 to 8.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 13, size, size): six bits of the name, each -1 or 1; six numbers of the question, which are the bits of a
        name, or sqrt(6) in the place of the direction (below, above, right, left) and else 0, or nothing but zeros;
        the value. y (n, 1, size, size): the value of the pixel that is asked.

    Raises:
        ValueError: ``rule`` is none of the four; ``step`` leads nowhere; ``n`` or ``size`` is out of range.
    """
    if rule not in RULES:
        raise ValueError(f"whom_to_ask: rule must be one of {', '.join(RULES)}; got {rule!r}")
    generator = start("whom_to_ask", n, size, seed, device, least=3)
    if size**2 > 2**BITS:
        raise ValueError(f"whom_to_ask: size must be at most {2 ** (BITS // 2)}, for as many names; got {size}")
    if step[0] % size == 0 and step[1] % size == 0:
        raise ValueError(f"whom_to_ask: step must lead to another pixel of an image of size {size}; got {step}")
    pixels = size**2
    place = torch.arange(pixels, device=device)
    numbers = torch.rand(n, 2**BITS, generator=generator, device=device).argsort(1)[:, None, :pixels]
    names = 2.0 * (numbers // 2 ** torch.arange(BITS, device=device)[:, None] % 2) - 1  # (n, 6, pixels)
    values = torch.randn(n, 1, pixels, generator=generator, device=device)

    def away(down: Tensor | int, right: Tensor | int) -> Tensor:
        """The place so far from each, on a torus."""
        return (place // size + down) % size * size + (place % size + right) % size

    question = torch.zeros_like(names)
    if rule == "name":
        partner = (place + torch.randint(1, pixels, (n, 1, pixels), generator=generator, device=device)) % pixels
        question = names.gather(2, partner.expand_as(names))
    elif rule == "step":
        partner = away(*step).expand(n, 1, pixels)
    elif rule == "mirror":
        partner = (pixels - 1 - place).expand(n, 1, pixels)
    else:
        choice = torch.randint(4, (n, 1, pixels), generator=generator, device=device)
        question[:, :4] = BITS**0.5 * (choice == torch.arange(4, device=device)[:, None])
        neighbours = torch.stack([away(1, 0), away(-1, 0), away(0, 1), away(0, -1)])  # (4, pixels)
        partner = neighbours[choice, place]
    x = torch.cat([names, question, values], 1)
    return x.unflatten(2, (size, size)), values.gather(2, partner).unflatten(2, (size, size))
