"""PoolFormer: put an average in the place of attention, and most of a transformer is still there.

Paper: yu2022metaformer, sections 3.1 and 3.2, table 1. What transformers share is a frame: mix the tokens, then a
perceptron for each, both normalised and with a shortcut (a MetaFormer). Here the mixer is the mean over 3 x 3 pixels,
which has nothing to learn; the pixel itself is subtracted, because the shortcut adds it again:

    x' = x + s_1 (mean3x3(GN(x)) - GN(x))
    y  = x' + s_2 mlp(GN(x'))                   s: layer scale, a factor for each channel

Cost of a block: 8 C^2 weights, 8 HW C^2 multiply-adds; the pooling has none. PoolFormer-S12: 11.9 M parameters, 1.8 G
multiply-adds.

Where this differs: nothing from timm's, which has the official weights. The normalisation is over channels and pixels
together (GroupNorm with one group); at the border only the pixels that exist are averaged. Copies forget to subtract
the pixel, or average in zeros at the border.
"""

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    DropPath,
    LayerNorm2d,
    LayerScale,
    Pooling,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "yu2022metaformer"
CHAPTER = "17_vision_transformer"


class PoolFormerBlock(nn.Module):
    """Mix by an average, then a perceptron for each pixel.

    Args:
        dim: channels C.
        layer_scale: the branches' factors at the start.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, layer_scale: float = 1e-5, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.GroupNorm(1, dim)
        self.pool = Pooling(dim)
        self.scale1 = LayerScale(dim, layer_scale)
        self.norm2 = nn.GroupNorm(1, dim)
        self.mlp = nn.Sequential(nn.Conv2d(dim, 4 * dim, 1), nn.GELU(), nn.Conv2d(4 * dim, dim, 1))
        self.scale2 = LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = x + self.drop_path(self.scale1(self.pool(self.norm1(x))))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))


class PoolFormer(Classifier):
    """Four stages of pooling blocks.

    Args:
        depths: blocks of each stage.
        dims: channels of each stage.
        num_classes: number of logits; 0 gives the normalised pooled features (B, num_features).
        in_chans: channels of the input image.
        layer_scale: the branches' factors at the start.
        dropout: probability with which a pooled feature is dropped in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), H and W at least 3.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 3

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        dims: tuple[int, int, int, int] = (64, 128, 320, 512),
        num_classes: int = 1000,
        in_chans: int = 3,
        layer_scale: float = 1e-5,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("PoolFormer", depths=min(depths), dims=min(dims), layer_scale=layer_scale)
        super().__init__(in_chans, dims[-1], dropout)
        self.pyramid_channels = tuple(dims)
        self.stages = nn.ModuleList()
        for index, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            enter = (
                nn.Conv2d(dims[index - 1], dims[index], 3, 2, padding=1)
                if index
                else nn.Conv2d(in_chans, dims[0], 7, 4, padding=2)
            )
            blocks = nn.Sequential(*[PoolFormerBlock(dims[index], layer_scale, rate) for rate in rates])
            self.stages.append(nn.Sequential(OrderedDict(enter=enter, blocks=blocks)))
        self.norm = LayerNorm2d(dims[-1])
        self.reset_head(num_classes)
        # What enters a stage keeps PyTorch's own start, as in the official code: with 0.02 the signal would fade.
        for part in (*(stage.blocks for stage in self.stages), self.head):
            part.apply(init_truncated_normal)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]

    def pre_logits(self, x: Tensor) -> Tensor:
        """The normalised means over the pixels: (B, num_features, H', W') -> (B, num_features)."""
        return self.norm(x.mean((2, 3), keepdim=True)).flatten(1)


MODELS = {
    "poolformer_s12": partial(PoolFormer, (2, 2, 6, 2)),
    "poolformer_s24": partial(PoolFormer, (4, 4, 12, 4)),
    "poolformer_s36": partial(PoolFormer, (6, 6, 18, 6), layer_scale=1e-6),
    "poolformer_m36": partial(PoolFormer, (6, 6, 18, 6), (96, 192, 384, 768), layer_scale=1e-6),
    "poolformer_m48": partial(PoolFormer, (8, 8, 24, 8), (96, 192, 384, 768), layer_scale=1e-6),
}
REFERENCES = {name: (f"timm:{name}",) for name in MODELS}
