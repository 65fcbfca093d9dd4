"""Shuffle attention: half of the channels is gated by what, the other half by where, and then they are mixed.

Paper: zhang2021sanet. The channels are split into G groups, and each group in two halves. The first half gets a channel
gate from its mean, the second a gate for every pixel from its own normalised value; either needs a scale and a shift
for each channel and no more. A channel shuffle then puts the two halves of the whole side by side.

    x0' = sigmoid(w0 mean(x0) + b0) x0
    x1' = sigmoid(w1 GN(x1) + b1) x1                     GN: each channel to mean 0 and variance 1, scale, shift
    y   = shuffle([x0'; x1'])                            output channel 2j + s is channel s C/2 + j

All groups share w0, b0, w1, b1 and the normalisation's scale and shift.

Cost: 3 C/G parameters; no multiply-adds as they are usually counted; some ten operations on each of the BCHW numbers.

Growth: N^1

Where this differs: nothing in the result. The scale and shift of the normalisation and w1, b1 behind it are two affine
maps in a row, which are applied as one. The official default is G = 64, which needs a multiple of 128 channels and
fails with a division by zero below; the default here is 8, as in the popular copies, and other widths are refused.
Popular copies use ``view`` on the input, which fails on channels-last images, and have an argument ``reduction`` that
does nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "zhang2021sanet"
CHAPTER = "04_where_as_well_as_what"


class ShuffleAttention(nn.Module):
    """Channel gate on one half of every group, spatial gate on the other, and a channel shuffle.

    Args:
        dim: channels C, a multiple of 2 G.
        groups: G.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). With one group B·H·W must be greater than 1, for the GroupNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``groups`` is not positive; ``dim`` is no
            multiple of twice ``groups``.
    """

    def __init__(self, dim: int, groups: int = 8):
        super().__init__()
        check_positive("ShuffleAttention", dim=dim, groups=groups)
        if dim % (2 * groups):
            raise ValueError(
                f"ShuffleAttention: dim must be a multiple of {2 * groups}, two halves of {groups} groups; got {dim}: "
                "use fewer groups"
            )
        half = dim // (2 * groups)
        self.dim, self.groups = dim, groups
        self.channel_weight = nn.Parameter(torch.zeros(half, 1, 1))
        self.channel_bias = nn.Parameter(torch.ones(half, 1, 1))
        self.norm = nn.GroupNorm(half, half)
        self.spatial_weight = nn.Parameter(torch.zeros(half))
        self.spatial_bias = nn.Parameter(torch.ones(half))
        self.channel_gate = nn.Sigmoid()
        self.spatial_gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Gate the two halves of every group of (B, C, H, W), and shuffle the channels."""
        check_image(x, self.dim, "ShuffleAttention")
        # G groups as so many images: (B G, C / 2G, H, W) each half.
        what, where = x.unflatten(1, (self.groups, -1)).flatten(0, 1).chunk(2, 1)
        z = what.mean((2, 3), keepdim=True)  # (B G, C / 2G, 1, 1)
        what = what * self.channel_gate(self.channel_weight * z + self.channel_bias)

        scale = self.spatial_weight * self.norm.weight
        shift = self.spatial_weight * self.norm.bias + self.spatial_bias
        where = where * self.spatial_gate(F.group_norm(where, self.norm.num_groups, scale, shift, self.norm.eps))

        y = torch.cat([what, where], 1).unflatten(0, (-1, self.groups)).flatten(1, 2)  # (B, C, H, W)
        return y.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


BLOCKS = {"shuffle_attention": ShuffleAttention}
REFERENCES = {"shuffle_attention": ("recorded:shuffle_attention",)}
