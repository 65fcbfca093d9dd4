"""A different spatial kernel for each pair of channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stitchwork.data.tasks.draw import start


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
    generator = start("cross_channel_shift", n, size, seed, device, channels=channels)
    kernel = cross_channel_kernel(channels, kernel_seed).to(device)
    x = torch.randn(n, channels, size, size, generator=generator, device=device)
    return x, F.conv2d(x, kernel, padding=1)
