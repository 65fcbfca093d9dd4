"""PVTv2: three small changes, and PVT takes any image and learns more.

Paper: wang2022pvtv2, section 3. Patches overlap (a convolution of kernel 7, then 3, with stride 4, then 2), so that
edges between patches are seen. A depthwise 3x3 stands in the feed-forward part; with its zeros at the border it tells
where a pixel is, and the learned positions are gone. The linear variant averages the map to 7 x 7 before keys and
values are made, so that the attention's cost grows with the pixels and no longer with their square:

    FFN(x) = W_2 gelu(dw3x3(W_1 x))
    linear SRA:  keys and values of gelu(LN(W_s mean_7x7(x)))

Cost of the attention, with N tokens of C channels and cells of s x s: 2 N^2 C / s^2 multiply-adds, or 2 N 49 C in the
linear variant. B1: 14.0 M parameters, 2.1 G multiply-adds.

Where this differs: nothing from timm's, which has the official weights. The linear variant has a ReLU in front of the
depthwise convolution that the paper does not show. Classification takes the mean over all tokens.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    OverlapPatchEmbed,
    ReducedAttention,
    TransformerBlock,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "wang2022pvtv2"
CHAPTER = "18_pyramids"

HEADS, SR_RATIOS = (1, 2, 5, 8), (8, 4, 2, 1)


class ConvMlp(nn.Module):
    """Feed-forward with a depthwise 3x3 between its two layers.

    Args:
        dim: channels C.
        hidden: width between the layers.
        linear: put a ReLU in front of the convolution, as the linear variant does.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, hidden: int, linear: bool = False):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.relu = nn.ReLU() if linear else nn.Identity()
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = self.relu(self.fc1(x)).permute(0, 3, 1, 2)  # (B, hidden, H, W)
        x = self.dwconv(x)  # line by line, so that what came in is freed
        x = self.act(x).permute(0, 2, 3, 1)  # (B, H, W, hidden)
        return self.fc2(x)


class PooledTokens(nn.Module):
    """The map averaged to 7 x 7 tokens, which a layer and a normalisation go over.

    Args:
        dim: channels C.

    Shapes:
        (B, H, W, C) -> (B, 7, 7, C)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 1)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, 7, 7, C)."""
        x = self.conv(F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 7))  # (B, C, 7, 7)
        return F.gelu(self.norm(x.permute(0, 2, 3, 1)))


class PVTv2(Classifier):
    """Four stages of transformer blocks with overlapping patches and reduced keys and values.

    Args:
        dims: channels of each stage.
        depths: blocks of each stage.
        mlp_ratios: width of the feed-forward part over the channels, for each stage.
        linear: keys and values are those of 7 x 7 averages in every stage.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a pooled feature is dropped in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        dims: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        mlp_ratios: tuple[int, int, int, int] = (8, 8, 4, 4),
        linear: bool = False,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("PVTv2", dims=min(dims), depths=min(depths), mlp_ratios=min(mlp_ratios))
        super().__init__(in_chans, dims[-1], dropout)
        self.pyramid_channels = tuple(dims)
        self.stages = nn.ModuleList()
        for index, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            dim, hidden = dims[index], dims[index] * mlp_ratios[index]
            stage = nn.Sequential()
            stage.patch_embed = (
                OverlapPatchEmbed(dims[index - 1], dim, 3, 2) if index else OverlapPatchEmbed(in_chans, dim, 7, 4)
            )
            stage.blocks = nn.Sequential()
            for rate in rates:
                attn = ReducedAttention(dim, HEADS[index], SR_RATIOS[index])
                if linear:
                    attn.reduce = PooledTokens(dim)
                stage.blocks.append(TransformerBlock(dim, attn, ConvMlp(dim, hidden, linear), rate))
            stage.norm = nn.LayerNorm(dim, eps=1e-6)
            self.stages.append(stage)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        maps = []
        for stage in self.stages:
            x = stage(x).permute(0, 3, 1, 2)  # (B, C, H_i, W_i)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]


B1 = (64, 128, 320, 512)
MODELS = {
    "pvt_v2_b0": partial(PVTv2, (32, 64, 160, 256), (2, 2, 2, 2)),
    "pvt_v2_b1": partial(PVTv2, B1, (2, 2, 2, 2)),
    "pvt_v2_b2": partial(PVTv2, B1, (3, 4, 6, 3)),
    "pvt_v2_b2_li": partial(PVTv2, B1, (3, 4, 6, 3), linear=True),
    "pvt_v2_b3": partial(PVTv2, B1, (3, 4, 18, 3)),
    "pvt_v2_b4": partial(PVTv2, B1, (3, 8, 27, 3)),
    "pvt_v2_b5": partial(PVTv2, B1, (3, 6, 40, 3), (4, 4, 4, 4)),
}
REFERENCES = {name: (f"timm:{name}",) for name in MODELS}
