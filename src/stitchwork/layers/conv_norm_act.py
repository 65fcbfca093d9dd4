"""Convolution, batch normalisation, activation: the sentence that convolutional networks are written in."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import nn

from stitchwork.layers.fused_conv import fold_batch_norm
from stitchwork.layers.same_pad import SamePad2d

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
        norm: builds the normalisation for a number of channels; a ``partial`` of BatchNorm2d sets its eps.
        same_padding: pad as TensorFlow does, which differs where the stride is above 1.
        bias: give the convolution a bias all the same, as some published networks do.

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
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        same_padding: bool = False,
        bias: bool = False,
    ):
        super().__init__()
        padding = (kernel_size - 1) // 2 * dilation
        if same_padding and stride > 1:
            self.pad = SamePad2d((kernel_size - 1) * dilation + 1, stride)
            padding = 0
        self.conv = nn.Conv2d(
            in_dim, out_dim, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=bias
        )
        self.norm = norm(out_dim)
        if act is not None:
            self.act = act()

    def fused(self) -> nn.Module:
        """The same function in evaluation, with the BatchNorm folded into the convolution."""
        parts = OrderedDict(self.named_children())
        parts.pop("norm")
        parts["conv"] = fold_batch_norm(self.conv, self.norm)
        return nn.Sequential(parts)
