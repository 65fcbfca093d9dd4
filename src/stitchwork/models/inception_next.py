"""InceptionNeXt: a large depthwise kernel taken apart into a square, a row, a column, and nothing at all.

Paper: yu2024inceptionnext, section 3 and algorithm 1. A depthwise 7x7 has few multiply-adds but moves much memory, and
on a GPU it makes ConvNeXt slow. So most channels are left as they are; of the rest one part is filtered by 3x3, one
by a row 1x11, one by a column 11x1, each an eighth of the channels. The networks are ConvNeXt's otherwise, with
BatchNorm in the place of LayerNorm.

    y = x + gamma * W2 gelu(W1 BN(cat(x_0, dw3x3(x_1), dw1x11(x_2), dw11x1(x_3))))

Cost of a block: HW C ((9 + 11 + 11) / 8 + 8C) multiply-adds. InceptionNeXt-T at 224 pixels: 28.1 M parameters, 4.19 G
multiply-adds.

Where this differs: nothing from timm, which has the official code. The unfiltered channels come first, and the row
before the column. The head is a layer three times as wide, GELU and LayerNorm (eps 1e-6) between pooling and
classifier; the MLPs of the last stage are three times as wide as the stage, the others four. Patches have no padding,
as in ConvNeXt. The paper's stochastic depth (0.1 for T, 0.3 for S, 0.4 for B) is off by default.
"""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    DropPath,
    LayerScale,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "yu2024inceptionnext"
CHAPTER = "13_large_kernels"


class InceptionDepthwise(nn.Module):
    """Three parts of the channels filtered by a square, a row and a column; the others as they are.

    Args:
        dim: channels C.
        band: length of the row and of the column, odd.
        branch_ratio: share of the channels in each of the three filtered parts.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, band: int = 11, branch_ratio: float = 0.125):
        super().__init__()
        part = int(dim * branch_ratio)
        self.parts = (dim - 3 * part, part, part, part)
        self.square = nn.Conv2d(part, part, 3, padding=1, groups=part)
        self.row = nn.Conv2d(part, part, (1, band), padding=(0, band // 2), groups=part)
        self.column = nn.Conv2d(part, part, (band, 1), padding=(band // 2, 0), groups=part)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        same, square, row, column = x.split(self.parts, 1)  # (B, 5C / 8, H, W) and thrice (B, C / 8, H, W)
        return torch.cat([same, self.square(square), self.row(row), self.column(column)], 1)  # (B, C, H, W)


class MetaNeXtBlock(nn.Module):
    """Look around, BatchNorm, and at every pixel a network of two layers; layer scale; shortcut.

    Args:
        dim: channels C.
        mlp_ratio: width of the hidden layer in units of C.
        band: of the :class:`InceptionDepthwise`.
        branch_ratio: of the :class:`InceptionDepthwise`.
        layer_scale: the factor gamma at the start.
        drop_path_rate: probability with which an image skips the block in training.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(
        self,
        dim: int,
        mlp_ratio: int = 4,
        band: int = 11,
        branch_ratio: float = 0.125,
        layer_scale: float = 1e-6,
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        self.mixer = InceptionDepthwise(dim, band, branch_ratio)
        self.norm = nn.BatchNorm2d(dim)
        self.expand = nn.Linear(dim, mlp_ratio * dim)
        self.project = nn.Linear(mlp_ratio * dim, dim)
        self.scale = LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = self.norm(self.mixer(x)).permute(0, 2, 3, 1)  # (B, H, W, C)
        y = F.gelu(self.expand(y))  # (B, H, W, 4C)
        y = self.project(y).permute(0, 3, 1, 2)  # (B, C, H, W)
        y = self.drop_path(self.scale(y))
        y += x
        return y


class InceptionNeXt(Classifier):
    """Patches, four stages of blocks with a 2x2 convolution before each but the first, a classifier of two layers.

    Args:
        depths: blocks in each of the four stages.
        dims: channels of the four stages.
        num_classes: number of logits; 0 gives what the last linear layer sees (B, 3 dims[3]).
        in_chans: channels of the input image.
        band: length of the row and of the column, odd.
        branch_ratio: share of the channels in each of the three filtered parts, at most 1/3.
        layer_scale: the factor gamma of each block at the start.
        drop_path_rate: probability with which an image skips the last block in training; earlier ones less.
        dropout: probability with which a feature of the head is dropped in training.

    Attributes:
        min_size: 32: a smaller image has no pixel left in the last stage.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W from 32 on.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 32
    mlp_ratios = (4, 4, 4, 3)
    head_ratio = 3

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        dims: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        band: int = 11,
        branch_ratio: float = 0.125,
        layer_scale: float = 1e-6,
        drop_path_rate: float = 0.0,
        dropout: float = 0.0,
    ):
        check_positive(
            "InceptionNeXt",
            depths=min(depths),
            dims=min(dims),
            band=band,
            branch_ratio=branch_ratio,
            layer_scale=layer_scale,
        )
        if band % 2 == 0:
            raise ValueError(f"InceptionNeXt: band must be odd, or the map would grow; got {band}: take {band + 1}")
        if not 1 <= int(dims[0] * branch_ratio) <= dims[0] / 3:
            raise ValueError(
                f"InceptionNeXt: branch_ratio must give each part at least one of the {dims[0]} channels and at most "
                f"a third; got {branch_ratio}"
            )
        super().__init__(in_chans, dims[-1], dropout, head_features=self.head_ratio * dims[-1])
        self.pyramid_channels = tuple(dims)

        self.stem = nn.Sequential(nn.Conv2d(in_chans, dims[0], 4, stride=4), nn.BatchNorm2d(dims[0]))
        self.downsamples = nn.ModuleList([nn.Identity()])
        for dim, out_dim in pairwise(dims):
            self.downsamples.append(nn.Sequential(nn.BatchNorm2d(dim), nn.Conv2d(dim, out_dim, 2, stride=2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*[MetaNeXtBlock(dim, ratio, band, branch_ratio, layer_scale, rate) for rate in rates])
            for dim, ratio, rates in zip(dims, self.mlp_ratios, drop_path_rates(drop_path_rate, depths))
        )
        self.hidden = nn.Linear(dims[-1], self.head_features)
        self.norm = nn.LayerNorm(self.head_features, eps=1e-6)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H // stride, W // stride)."""
        self.check_input(x)
        # The linear layers want the channels of a pixel side by side: laid out so once, nothing is copied later.
        x = self.stem(x).contiguous(memory_format=torch.channels_last)  # (B, C, H / 4, W / 4)
        maps = []
        for downsample, stage in zip(self.downsamples, self.stages):
            x = stage(downsample(x))  # (B, C_i, H_i, W_i)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]

    def pre_logits(self, x: Tensor) -> Tensor:
        """Pool and widen: (B, num_features, H / 32, W / 32) -> (B, head_features)."""
        return self.norm(F.gelu(self.hidden(x.mean((2, 3)))))


MODELS = {
    "inception_next_atto": partial(InceptionNeXt, (2, 2, 6, 2), (40, 80, 160, 320), band=9, branch_ratio=0.25),
    "inception_next_tiny": partial(InceptionNeXt, (3, 3, 9, 3), (96, 192, 384, 768)),
    "inception_next_small": partial(InceptionNeXt, (3, 3, 27, 3), (96, 192, 384, 768)),
    "inception_next_base": partial(InceptionNeXt, (3, 3, 27, 3), (128, 256, 512, 1024)),
}
REFERENCES = {
    "inception_next_atto": ("timm:inception_next_atto",),
    "inception_next_tiny": ("timm:inception_next_tiny",),
    "inception_next_small": ("timm:inception_next_small",),
    "inception_next_base": ("timm:inception_next_base",),
}
