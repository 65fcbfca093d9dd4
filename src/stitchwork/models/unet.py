"""U-Net: down to know what it is, up to say where, and across at every size for what the way down lost.

Paper: ronneberger2015unet, section 2, figure 1. The encoder is a plain network of 3x3 convolutions that halves the map
four times. The decoder doubles it again, and at each size it gets the encoder's map of that size beside its own:

    y_i = conv3x3 conv3x3 [x_i, up(y_{i + 1})]        x_i: the encoder's map

Cost: most of the multiply-adds are where the map is large and the channels are few, most of the parameters where it is
small and they are many. 31.0 M parameters and 36.9 G multiply-adds at 224 pixels.

Where this differs: from the paper, as all code that is in use: the convolutions are padded, so that the output has the
size of the input, and BatchNorm follows each. ``unet`` and ``unet_bilinear`` are the most used code's. ``unet_half``
is another's: half the widths; biases in front of BatchNorm in the encoder, and no BatchNorm in the decoder; the map is
scaled up first and then narrowed by a 1x1 convolution; and the decoder's map is the first of the two that are joined.
A map of odd size is padded on the way up, here as in the most used code.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import ConvNormAct, Segmenter, check_positive, init_conv_weights

PAPER = "ronneberger2015unet"
CHAPTER = "21_unet_and_its_losses"

WIDTHS = (64, 128, 256, 512, 1024)


class Double(nn.Sequential):
    """Two 3x3 convolutions, each with BatchNorm and ReLU.

    Args:
        dim: channels C.
        out_dim: channels C'.
        hidden: channels between the two; C' if not given.
        bias: biases of the convolutions.

    Shapes:
        (B, C, H, W) -> (B, C', H, W)
    """

    def __init__(self, dim: int, out_dim: int, hidden: int | None = None, bias: bool = False):
        hidden = hidden or out_dim
        super().__init__(ConvNormAct(dim, hidden, 3, bias=bias), ConvNormAct(hidden, out_dim, 3, bias=bias))


class DoubleWithoutNorm(nn.Sequential):
    """Two 3x3 convolutions, each with ReLU.

    Args:
        dim: channels C.
        out_dim: channels C'.

    Shapes:
        (B, C, H, W) -> (B, C', H, W)
    """

    def __init__(self, dim: int, out_dim: int):
        super().__init__(
            nn.Conv2d(dim, out_dim, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_dim, out_dim, 3, padding=1),
            nn.ReLU(inplace=True),
        )


def double_size() -> nn.Upsample:
    """Twice the rows and columns, interpolated, with the corners where they were."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)


def pad_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Put a map into the middle of one of ``size``, the lower right middle, with zeros around."""
    rows, columns = size[0] - x.shape[2], size[1] - x.shape[3]
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


class Up(nn.Module):
    """Double the map, join the encoder's, convolve twice.

    Args:
        grow: doubles the map.
        convolve: makes one map of the two.
        own_first: which of the two comes first; the encoder's, unless this is true.

    Shapes:
        (B, C, h, w), the encoder's (B, C', H, W) -> (B, C'', H, W)
    """

    def __init__(self, grow: nn.Module, convolve: nn.Module, own_first: bool = False):
        super().__init__()
        self.grow, self.convolve, self.own_first = grow, convolve, own_first

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, C, h, w), (B, C', H, W) -> (B, C'', H, W)."""
        x = pad_to(self.grow(x), skip.shape[2:])
        return self.convolve(torch.cat([x, skip] if self.own_first else [skip, x], 1))


def transposed(widths: tuple[int, ...]) -> list[Up]:
    """The way up by transposed convolutions, from the bottom."""
    return [Up(nn.ConvTranspose2d(below, dim, 2, 2), Double(2 * dim, dim)) for below, dim in pairwise(widths[::-1])]


def bilinear(widths: tuple[int, ...]) -> list[Up]:
    """The way up by interpolation, from the bottom, for an encoder whose last width is that of the one before it."""
    parts, below = [], widths[-1]
    for index in range(len(widths) - 2, -1, -1):
        joined, out_dim = below + widths[index], widths[max(index - 1, 0)]
        parts.append(Up(double_size(), Double(joined, out_dim, joined // 2)))
        below = out_dim
    return parts


def narrowed(widths: tuple[int, ...]) -> list[Up]:
    """The way up by interpolation and a 1x1 convolution, from the bottom, without BatchNorm."""
    return [
        Up(nn.Sequential(double_size(), nn.Conv2d(below, dim, 1)), DoubleWithoutNorm(2 * dim, dim), own_first=True)
        for below, dim in pairwise(widths[::-1])
    ]


class UNet(Segmenter):
    """Five sizes down and up again.

    Args:
        widths: channels at the five sizes.
        way_up: builds the decoder's four parts from the widths.
        encoder_bias: biases of the encoder's convolutions.
        num_classes: number of logits for each pixel; 0 gives the features (B, widths[0], H, W).
        in_chans: channels of the input image.

    Attributes:
        min_size: 16: a smaller image has no pixel left at the bottom.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes, H, W), any H and W from 16 on.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 16

    def __init__(
        self,
        widths: tuple[int, ...] = WIDTHS,
        way_up: Callable[[tuple[int, ...]], list[Up]] = transposed,
        encoder_bias: bool = False,
        num_classes: int = 2,
        in_chans: int = 3,
    ):
        check_positive("UNet", widths=min(widths))
        super().__init__(in_chans, widths[0])
        self.pyramid_channels = tuple(widths)
        dims = (in_chans, *widths)
        self.down = nn.ModuleList(Double(dim, out_dim, bias=encoder_bias) for dim, out_dim in zip(dims, widths))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(way_up(widths))
        self.apply(init_conv_weights)
        self.reset_head(num_classes)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """The encoder's five maps, at strides 1, 2, 4, 8 and 16: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        maps = [self.down[0](x)]
        for down in self.down[1:]:
            maps.append(down(self.pool(maps[-1])))
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, widths[0], H, W)."""
        *skips, x = self.forward_pyramid(x)
        for up, skip in zip(self.up, skips[::-1]):
            x = up(x, skip)
        return x


MODELS = {
    "unet": UNet,
    "unet_bilinear": partial(UNet, widths=(64, 128, 256, 512, 512), way_up=bilinear),
    "unet_half": partial(UNet, widths=(32, 64, 128, 256, 512), way_up=narrowed, encoder_bias=True),
}
REFERENCES = {
    "unet": ("recorded:unet",),
    "unet_bilinear": ("counted:unet_bilinear",),
    "unet_half": ("counted:unet_half",),
}
