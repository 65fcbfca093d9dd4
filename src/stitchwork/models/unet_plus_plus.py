"""UNet++: the way across is a network of its own, so that both ends of a skip speak the same language.

Paper: zhou2018unetplusplus, section 3.1, eq. 1. In a U-Net a map of edges meets one of meanings. Here a map X(i, j),
size i and j steps across, is made of all maps of its row before it and of the one below and before, doubled:

    X(i, 0) = H(pool X(i - 1, 0)),      X(i, j) = H([X(i, 0), ..., X(i, j - 1), up X(i + 1, j - 1)])

H is two 3x3 convolutions. Every node of the top row could give an answer; without deep supervision the last one does.

Cost: 9.2 M parameters and 26.4 G multiply-adds at 224 pixels: half the widths of a U-Net, and still most of its work.

Where this differs: nothing from the most used code, without deep supervision; it takes multiples of 16 only, and here
a map is doubled to whatever size its row has.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import Segmenter, check_positive, init_conv_weights
from stitchwork.models.unet import Double

PAPER = "zhou2018unetplusplus"
CHAPTER = "21_unet_and_its_losses"


class UNetPlusPlus(Segmenter):
    """A triangle of nodes: five sizes, and fewer steps across the smaller they are.

    Args:
        widths: channels at the five sizes.
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

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256, 512), num_classes: int = 1, in_chans: int = 3):
        check_positive("UNetPlusPlus", widths=min(widths))
        super().__init__(in_chans, widths[0])
        self.pyramid_channels = tuple(widths)
        self.down = nn.ModuleList(Double(a, b, bias=True) for a, b in zip((in_chans, *widths), widths))
        self.pool = nn.MaxPool2d(2)
        # across[i][j - 1] makes X(i, j).
        self.across = nn.ModuleList(
            nn.ModuleList(Double(j * dim + below, dim, bias=True) for j in range(1, len(widths) - i))
            for i, (dim, below) in enumerate(pairwise(widths))
        )
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
        rows = [[first] for first in self.forward_pyramid(x)]
        for j in range(1, len(rows)):
            for i in range(len(rows) - j):
                size = rows[i][0].shape[2:]
                below = F.interpolate(rows[i + 1][j - 1], size=size, mode="bilinear", align_corners=True)
                rows[i].append(self.across[i][j - 1](torch.cat([*rows[i], below], 1)))
        return rows[0][-1]


MODELS = {"unet_plus_plus": UNetPlusPlus}
REFERENCES = {"unet_plus_plus": ("recorded:unet_plus_plus",)}
