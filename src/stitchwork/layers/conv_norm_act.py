"""Convolution, batch normalisation, activation: the sentence that convolutional networks are written in."""

from collections.abc import Callable
from functools import partial

from torch import nn

ReLU = partial(nn.ReLU, inplace=True)
ReLU6 = partial(nn.ReLU6, inplace=True)


class ConvNormAct(nn.Sequential):
    """A convolution without bias, BatchNorm, and an activation.

    The convolution has no bias because the normalisation after it would subtract it again. The padding is
    ``(kernel_size - 1) // 2 * dilation`` on every side, so that an odd kernel keeps the size at stride 1 and gives
    ceil(H / stride) otherwise.

    Args:
        in_dim: channels in.
        out_dim: channels out.
        kernel_size: side of the kernel.
        stride: step of the kernel.
        groups: ``in_dim`` makes the convolution depthwise.
        dilation: distance of the kernel's taps.
        act: builds the activation; ``None`` leaves the output linear. The default works in place, on a tensor that
            only the normalisation before it has seen.

    Shapes:
        (B, in_dim, H, W) -> (B, out_dim, ceil(H / stride), ceil(W / stride))
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        act: Callable[[], nn.Module] | None = ReLU,
    ):
        super().__init__()
        padding = (kernel_size - 1) // 2 * dilation
        self.conv = nn.Conv2d(
            in_dim, out_dim, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_dim)
        if act is not None:
            self.act = act()
