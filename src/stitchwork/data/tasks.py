"""Procedural tasks: each is built so that *one* property of a network decides whether it can be solved.

All are regressions with a target of mean square 1 (channel by channel, in expectation), so that the mean squared error
reads the same everywhere: 1 for a network that knows nothing, 0 for one that has understood. Every sample is drawn
anew from the seed: train on one seed and test on another. A seed gives other samples on a GPU than on a CPU.

Every pixel is drawn alike, and places are taken modulo the image, so a network with circular padding sees no border
and nothing but the property in question can give the answer away.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def _start(task: str, n: int, size: int, seed: int, device, least: int = 1, **more: int) -> torch.Generator:
    """The random generator of a task, once its arguments are known to make sense."""
    for name, value, low in [("n", n, 1), ("size", size, least), *((k, v, 1) for k, v in more.items())]:
        if value < low:
            raise ValueError(f"{task}: {name} must be at least {low}; got {value}")
    return torch.Generator(device).manual_seed(seed)


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
    generator = _start("channel_identity", n, size, seed, device, least=4)
    textures = torch.randn(n, 2, size, size, generator=generator, device=device)
    choice = torch.randint(2, (n, 1, 1), generator=generator, device=device)
    rows, columns = _near(n, size, 4, generator, device), _near(n, size, 4, generator, device)
    cue = (rows[:, :, None] & columns[:, None, :]) * (1.0 - 2.0 * choice) * size**2 / 16  # (n, size, size), mean +-1
    x = torch.cat([textures, cue[:, None]], 1)
    return x, torch.where(choice[..., None] == 0, textures[:, :1], textures[:, 1:])


def _near(n: int, size: int, length: int, generator: torch.Generator, device) -> Tensor:
    """True on ``length`` consecutive places of a ring, beginning anywhere: (n, size)."""
    start = torch.randint(size, (n, 1), generator=generator, device=device)
    return (torch.arange(size, device=device) - start) % size < length


def absolute_position(
    n: int, *, size: int = 16, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Keep the texture in one row and erase it elsewhere; a marker, in any column, says which row.

    The property is *a summary that keeps the position along an axis*. The marker is a single pixel in a plane of its
    own, and a texture pixel must be kept if the marker is somewhere in its row. A mean over each row (CoordAtt) has
    the answer at hand: it is different from zero in the marked row alone. A mean over the whole image (SE) is the
    same number in every sample, whichever row is marked: the best that is left is a fraction 1 / sqrt(size) of the
    target's texture everywhere, with the error 1 - 1 / size. A convolution sees the marker only as far as its kernel
    reaches along the row.

    "Absolute" is the place of the row in this image, not its number: the samples are drawn alike at every place, and
    with circular padding CoordAtt, as every convolution, moves with its input.

    Args:
        n: number of samples.
        size: side of the images in pixels.
        seed: decides the samples.
        device: where they are made.

    Returns:
        x (n, 2, size, size): texture and marker; y (n, 1, size, size): the texture times sqrt(size) in the marked row
        (which makes its mean square 1) and 0 elsewhere.

    Raises:
        ValueError: ``n`` or ``size`` is too small.
    """
    generator = _start("absolute_position", n, size, seed, device)
    texture = torch.randn(n, size, size, generator=generator, device=device)
    row = _near(n, size, 1, generator, device)[:, :, None]  # (n, size, 1)
    column = _near(n, size, 1, generator, device)[:, None, :]  # (n, 1, size)
    marker = (row & column) * float(size)  # mean over its row: 1
    return torch.stack([texture, marker], 1), (math.sqrt(size) * texture * row)[:, None]


def cross_channel_kernel(channels: int = 8, seed: int = 0) -> Tensor:
    """The kernel (channels, channels, 3, 3) behind :func:`cross_channel_shift`, on the CPU.

    Its entries are normal; then each output channel is scaled to unit energy, so that noise of mean square 1 stays so.

    Raises:
        ValueError: ``channels`` is less than 1.
    """
    if channels < 1:
        raise ValueError(f"cross_channel_kernel: channels must be at least 1; got {channels}")
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(channels, channels, 3, 3, generator=generator)
    return kernel / kernel.square().sum((1, 2, 3), keepdim=True).sqrt()


def cross_channel_shift(
    n: int,
    *,
    channels: int = 8,
    size: int = 12,
    seed: int = 0,
    kernel_seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Imitate a dense 3 x 3 convolution: every output channel looks at every input channel in its own way.

    The property is *a different spatial kernel for each pair of channels*. The target is noise convolved with a fixed
    random kernel K (:func:`cross_channel_kernel`). A 3 x 3 convolution can be K. A depthwise convolution followed by
    a pointwise one has a single spatial kernel for each input channel, whichever output it is for: the (channels x 9)
    matrix K[:, c] of input channel c is then of rank 1, and by Eckart and Young its error away from the border cannot
    be less than

        1 - (sum over c of sigma_1(c)^2) / (sum over c and k of sigma_k(c)^2),

    with sigma_k(c) the singular values of that matrix: about 0.6 for 8 channels. A depth multiplier of m makes it rank
    m, and m = 8 or 9 brings the error back to 0.

    Args:
        n: number of samples.
        channels: of the input and of the output.
        size: side of the images in pixels.
        seed: decides the samples.
        kernel_seed: decides K, that is, the task.
        device: where the samples are made.

    Returns:
        x (n, channels, size, size): noise; y (n, channels, size, size): its convolution, zero padding of 1,
        which leaves a mean square of (1 - 2 / (3 size))^2: divide by it to compare with the bound.

    Raises:
        ValueError: ``n``, ``channels`` or ``size`` is too small.
    """
    generator = _start("cross_channel_shift", n, size, seed, device, channels=channels)
    kernel = cross_channel_kernel(channels, kernel_seed).to(device)
    x = torch.randn(n, channels, size, size, generator=generator, device=device)
    return x, F.conv2d(x, kernel, padding=1)
