"""Several choices of channel at once, each by its own cue."""

import torch
from torch import Tensor

from stitchwork.data.tasks.channel_identity import channel_identity


def many_choices(
    n: int, *, choices: int = 4, size: int = 16, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return one of two textures, as :func:`channel_identity` does, for several independent pairs of textures.

    The property is *as many decisions as there are pairs*. Every pair of textures has a cue in a plane of its own,
    and the cues are independent of each other: whoever knows one has learned nothing about the next. A module whose
    summary of the image passes through fewer numbers than there are cues has to drop some. Whoever knows m of the
    cues does best with the mean of both textures for the other pairs, whose error is (1 - m / choices) / 2.

    Args:
        n: number of samples.
        choices: pairs of textures.
        size: side of the images in pixels, at least 4.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 3 choices, size, size): texture A, cue and texture B of the first pair, then those of the second, and so
        on: a cue lies between the two textures that it is about. y (n, choices, size, size): the chosen textures.

    Raises:
        ValueError: ``n``, ``choices`` or ``size`` is too small.
    """
    if choices < 1:
        raise ValueError(f"many_choices: choices must be at least 1; got {choices}")
    if n < 1 or size < 4:
        name, least, value = ("n", 1, n) if n < 1 else ("size", 4, size)
        raise ValueError(f"many_choices: {name} must be at least {least}; got {value}")
    x, y = channel_identity(n * choices, size=size, seed=seed, device=device)
    return x[:, [0, 2, 1]].reshape(n, 3 * choices, size, size), y.reshape(n, choices, size, size)
