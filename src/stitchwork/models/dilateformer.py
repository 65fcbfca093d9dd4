"""DilateFormer: look at few neighbours, but near, further and far ones, and leave the whole image to the late stages.

Paper: jiao2023dilateformer, sections 3.1 to 3.3, table 1. In the first layers of a ViT, attention falls mostly on what
is near, and most of its pairs are wasted. So the first two stages attend to 3 x 3 pixels around each, whose spacing is
1, 2 or 3 in three groups of heads (``blocks.msda``); only the last two stages, whose maps are small, attend to
everything. A depthwise 3x3 with a shortcut stands in front of every block for the positions.

Cost of the attention, with N pixels of C numbers: 2 · 9 N C multiply-adds in the first two stages, 2 N^2 C in the last
two. DilateFormer-T: 17.2 M parameters, 3.2 G multiply-adds.

Where this differs: nothing from the official code, whose border pixels attend to zeros with a logit of 0. The official
code is for 224 pixels; here any size goes.
"""

from functools import partial

from torch import Tensor, nn

from stitchwork.blocks.msda import MultiScaleDilatedAttention
from stitchwork.layers import (
    Classifier,
    Mlp,
    SelfAttention,
    TransformerBlock,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_conv_weights,
    init_truncated_normal,
)

PAPER = "jiao2023dilateformer"
CHAPTER = "19_windows"

HEADS = (3, 6, 12, 24)


class DilatedAttention(MultiScaleDilatedAttention):
    """The attention of ``blocks.msda`` for channels at the end, with biases.

    Args:
        dim: channels C.
        num_heads: heads, a multiple of 3.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__(dim, num_heads, qkv_bias=True)
        self.softmax.axes = ("image", "head of a spacing", "neighbour", "row", "column")

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class GlobalAttention(SelfAttention):
    """Attention among all pixels of a map.

    Args:
        dim: channels C.
        num_heads: heads of the attention.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__(dim, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return super().forward(x.flatten(1, 2)).unflatten(1, x.shape[1:3])


class DilateBlock(nn.Module):
    """Positions by a depthwise 3x3, attention, a perceptron for each pixel.

    Args:
        dim: channels C.
        num_heads: heads of the attention.
        dilated: attend to 3 x 3 pixels at three spacings, or else to all.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, num_heads: int, dilated: bool, drop_path: float = 0.0):
        super().__init__()
        self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        attn = (DilatedAttention if dilated else GlobalAttention)(dim, num_heads)
        self.block = TransformerBlock(dim, attn, Mlp(dim, 4 * dim), drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = x + self.position(x)
        return self.block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DilateFormer(Classifier):
    """Two stages of dilated and two of global attention.

    Args:
        depths: blocks of each stage.
        dim: channels of the first stage, a multiple of 3; each further one has twice as many.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a pooled feature is dropped in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first (0.1 for T, 0.2 for S,
            0.3 for B in the paper).

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        dim: int = 72,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("DilateFormer", depths=min(depths), dim=dim)
        check_multiple("DilateFormer", dim, heads=HEADS[0])
        super().__init__(in_chans, 8 * dim, dropout)
        self.pyramid_channels = tuple(dim * 2**stage for stage in range(4))
        self.stem = nn.Sequential(
            *self.stem_layer(in_chans, 16, 1),
            *self.stem_layer(16, 32, 2),
            *self.stem_layer(32, 64, 1),
            nn.Conv2d(64, dim, 3, 2, padding=1, bias=False),
        )
        self.stages = nn.ModuleList()
        for index, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            width = self.pyramid_channels[index]
            stage = nn.Sequential()
            if index:
                stage.merge = nn.Sequential(nn.Conv2d(width // 2, width, 3, 2, padding=1), nn.BatchNorm2d(width))
            stage.blocks = nn.Sequential(*[DilateBlock(width, HEADS[index], index < 2, rate) for rate in rates])
            self.stages.append(stage)
        self.norm = nn.LayerNorm(8 * dim, eps=1e-6)
        self.reset_head(num_classes)
        self.apply(init_conv_weights)
        self.apply(lambda module: init_truncated_normal(module) if isinstance(module, nn.Linear) else None)

    @staticmethod
    def stem_layer(dim: int, out_dim: int, stride: int) -> tuple[nn.Module, ...]:
        """Convolution, BatchNorm, GELU: (B, dim, H, W) -> (B, out_dim, H / stride, W / stride)."""
        return nn.Conv2d(dim, out_dim, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out_dim), nn.GELU()

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stem(x)  # (B, C, H / 4, W / 4)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32), normalised."""
        x = self.forward_pyramid(x)[-1].permute(0, 2, 3, 1)
        return self.norm(x).permute(0, 3, 1, 2)


MODELS = {
    "dilateformer_tiny": partial(DilateFormer, (2, 2, 6, 2)),
    "dilateformer_small": partial(DilateFormer, (3, 5, 8, 3)),
    "dilateformer_base": partial(DilateFormer, (4, 8, 10, 3), dim=96),
}
REFERENCES = {
    name: ("recorded:dilateformer_tiny",) if name == "dilateformer_tiny" else (f"counted:{name}",) for name in MODELS
}
