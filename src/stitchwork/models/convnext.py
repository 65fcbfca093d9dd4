"""ConvNeXt: a residual network rebuilt with a vision transformer's choices, one by one, and without attention.

Paper: liu2022convnext, section 2 and figure 4. The image is cut into patches of 4x4. A block looks around in every
channel with a depthwise 7x7, which mixes pixels and not channels, as attention does; then it works on each pixel alone
with a hidden layer four times as wide, as a transformer's MLP does. One LayerNorm and one GELU a block, and a 2x2
convolution with stride 2 between the stages.

    y = x + gamma * W2 gelu(W1 LN(dw7x7(x)))      gamma: a factor for each channel, 1e-6 at the start

Cost of a block: HW C (49 + 8C) multiply-adds. The 7x7 is 6 % of them at C = 96 and under 1 % at C = 768.
ConvNeXt-T at 224 pixels: 28.6 M parameters, 4.46 G multiply-adds.

Where this differs: nothing from torchvision and timm, which agree. Every LayerNorm is over the channels of one pixel,
with eps 1e-6; the head has one after the pooling. Patches have no padding: 75 rows are seen as 72, and what is left
over on the right and at the bottom is not looked at. The paper's stochastic depth (0.1 for T, 0.4 for S, 0.5 for B
and L) is off by default.
"""

from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    DropPath,
    LayerNorm2d,
    LayerScale,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "liu2022convnext"
CHAPTER = "13_large_kernels"


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm, and at every pixel a network of two layers; layer scale; shortcut.

    Args:
        dim: channels C.
        layer_scale: the factor gamma at the start.
        drop_path_rate: probability with which an image skips the block in training.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, layer_scale: float = 1e-6, drop_path_rate: float = 0.0):
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.expand = nn.Linear(dim, 4 * dim)
        self.project = nn.Linear(4 * dim, dim)
        self.scale = LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))  # (B, H, W, C)
        y = self.expand(y)  # (B, H, W, 4C), step by step, so that what came in is freed
        y = F.gelu(y)
        y = self.project(y).permute(0, 3, 1, 2)  # (B, C, H, W)
        y = self.drop_path(self.scale(y))
        y += x
        return y


class ConvNeXt(Classifier):
    """Patches, four stages of blocks with a 2x2 convolution before each but the first, linear classifier.

    Args:
        depths: blocks in each of the four stages.
        dims: channels of the four stages.
        num_classes: number of logits; 0 gives the pooled and normalised features (B, dims[3]).
        in_chans: channels of the input image.
        layer_scale: the factor gamma of each block at the start.
        drop_path_rate: probability with which an image skips the last block in training; earlier ones less.
        dropout: probability with which a pooled feature is dropped in training.

    Attributes:
        min_size: 32: a smaller image has no pixel left in the last stage.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W from 32 on.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 32

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        dims: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        layer_scale: float = 1e-6,
        drop_path_rate: float = 0.0,
        dropout: float = 0.0,
    ):
        check_positive("ConvNeXt", depths=min(depths), dims=min(dims), layer_scale=layer_scale)
        super().__init__(in_chans, dims[-1], dropout)
        self.pyramid_channels = tuple(dims)

        self.stem = nn.Sequential(nn.Conv2d(in_chans, dims[0], 4, stride=4), LayerNorm2d(dims[0]))
        self.downsamples = nn.ModuleList([nn.Identity()])
        for dim, out_dim in pairwise(dims):
            self.downsamples.append(nn.Sequential(LayerNorm2d(dim), nn.Conv2d(dim, out_dim, 2, stride=2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*[ConvNeXtBlock(dim, layer_scale, rate) for rate in rates])
            for dim, rates in zip(dims, drop_path_rates(drop_path_rate, depths))
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H // stride, W // stride)."""
        self.check_input(x)
        x = self.stem(x)  # (B, C, H / 4, W / 4)
        maps = []
        for downsample, stage in zip(self.downsamples, self.stages):
            x = stage(downsample(x))  # (B, C_i, H_i, W_i)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]

    def pre_logits(self, x: Tensor) -> Tensor:
        """Pool, then normalise: (B, num_features, H / 32, W / 32) -> (B, num_features)."""
        return self.norm(x.mean((2, 3)))


MODELS = {
    "convnext_tiny": partial(ConvNeXt, (3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": partial(ConvNeXt, (3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": partial(ConvNeXt, (3, 3, 27, 3), (128, 256, 512, 1024)),
    "convnext_large": partial(ConvNeXt, (3, 3, 27, 3), (192, 384, 768, 1536)),
    "convnext_xlarge": partial(ConvNeXt, (3, 3, 27, 3), (256, 512, 1024, 2048)),
}
REFERENCES = {
    "convnext_tiny": ("torchvision:convnext_tiny", "timm:convnext_tiny"),
    "convnext_small": ("torchvision:convnext_small", "timm:convnext_small"),
    "convnext_base": ("torchvision:convnext_base", "timm:convnext_base"),
    "convnext_large": ("torchvision:convnext_large", "timm:convnext_large"),
    "convnext_xlarge": ("timm:convnext_xlarge",),
}
