"""Twins: attention in windows and attention to a summary take turns.

Paper: chu2021twins, sections 3.1 and 3.2. Twins-PCPVT is PVT with one change: its learned positions give way to a
depthwise 3x3 after the first block of each stage (chu2023conditional), which tells the place for any size. Twins-SVT
goes on: half of its blocks attend within windows of 7 x 7 pixels, which is cheap and sharp but blind beyond the window;
the others to one key for each cell of s x s pixels, which sees everything dimly:

    local:   attention within each window           eqs. 1 and 2
    global:  attention(Q, SR(K), SR(V))

Cost, with N tokens of C numbers: 2 N 49 C multiply-adds for the local attention, 2 N^2 C / s^2 for the global one.
SVT-S: 24.1 M parameters, 2.9 G multiply-adds.

Where this differs: nothing from timm's, which has the official weights, where windows of 7 fill the maps (any multiple
of 224 pixels). Elsewhere the maps are filled up to whole windows; the official code lets these zeros take part in the
softmax, here they are masked.
"""

from functools import partial

from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    Mlp,
    PatchEmbed,
    ReducedAttention,
    ScaledDotProduct,
    TransformerBlock,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
    join_windows,
    padding_bias,
    split_windows,
)

PAPER = "chu2021twins"
CHAPTER = "18_pyramids"

SR_RATIOS, WINDOW = (8, 4, 2, 1), 7
AXES = ("image", "row of windows", "column of windows", "head", "pixel of the window", "pixel of the window")


class WindowAttention(nn.Module):
    """Attention within windows that do not overlap.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads of the attention.
        window: side of a window in tokens.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, num_heads: int, window: int = WINDOW):
        super().__init__()
        check_positive("WindowAttention", dim=dim, num_heads=num_heads, window=window)
        check_multiple("WindowAttention", dim, num_heads=num_heads)
        self.num_heads, self.window = num_heads, window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attend = ScaledDotProduct(axes=AXES)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        size, side = x.shape[1:3], self.window
        x = split_windows(x.permute(0, 3, 1, 2), side, side)  # (B, h, w, P, C)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(4, 0, 1, 2, 5, 3, 6)
        y = self.attend(q, k, v, padding_bias(size, side, side, x))  # (B, h, w, heads, P, d)
        y = self.proj(y.transpose(3, 4).flatten(4))  # (B, h, w, P, C)
        return join_windows(y, side, side, size).permute(0, 2, 3, 1)


class PositionConv(nn.Conv2d):
    """A depthwise 3x3 and a shortcut: zeros at the border let each token find out where it is.

    Args:
        dim: channels C.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int):
        super().__init__(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return x + super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Twins(Classifier):
    """Four stages of transformer blocks with positions by convolution.

    Args:
        dims: channels of each stage.
        num_heads: heads of each stage.
        depths: blocks of each stage.
        mlp_ratios: width of the feed-forward part over the channels, for each stage.
        local: every other block, from the first on, attends within windows.
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
        num_heads: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        mlp_ratios: tuple[int, int, int, int],
        local: bool,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive(
            "Twins", dims=min(dims), num_heads=min(num_heads), depths=min(depths), mlp_ratios=min(mlp_ratios)
        )
        super().__init__(in_chans, dims[-1], dropout)
        self.pyramid_channels = tuple(dims)
        self.stages = nn.ModuleList()
        for index, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            dim, heads = dims[index], num_heads[index]
            stage = nn.Module()
            stage.patch_embed = PatchEmbed(dims[index - 1] if index else in_chans, dim, 2 if index else 4, nn.LayerNorm)
            stage.position = PositionConv(dim)
            stage.blocks = nn.ModuleList()
            for i, rate in enumerate(rates):
                within = local and i % 2 == 0
                attn = WindowAttention(dim, heads) if within else ReducedAttention(dim, heads, SR_RATIOS[index])
                stage.blocks.append(TransformerBlock(dim, attn, Mlp(dim, dim * mlp_ratios[index]), rate))
            self.stages.append(stage)
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        maps = []
        for stage in self.stages:
            x = stage.patch_embed(x)  # (B, h, w, C)
            for i, block in enumerate(stage.blocks):
                x = block(x)
                if i == 0:
                    x = stage.position(x)
            x = x.permute(0, 3, 1, 2)  # (B, C, h, w)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32), normalised."""
        x = self.forward_pyramid(x)[-1].permute(0, 2, 3, 1)
        return self.norm(x).permute(0, 3, 1, 2)


pcpvt = partial(Twins, dims=(64, 128, 320, 512), num_heads=(1, 2, 5, 8), mlp_ratios=(8, 8, 4, 4), local=False)
svt = partial(Twins, mlp_ratios=(4, 4, 4, 4), local=True)
MODELS = {
    "twins_pcpvt_small": partial(pcpvt, depths=(3, 4, 6, 3)),
    "twins_pcpvt_base": partial(pcpvt, depths=(3, 4, 18, 3)),
    "twins_pcpvt_large": partial(pcpvt, depths=(3, 8, 27, 3)),
    "twins_svt_small": partial(svt, dims=(64, 128, 256, 512), num_heads=(2, 4, 8, 16), depths=(2, 2, 10, 4)),
    "twins_svt_base": partial(svt, dims=(96, 192, 384, 768), num_heads=(3, 6, 12, 24), depths=(2, 2, 18, 2)),
    "twins_svt_large": partial(svt, dims=(128, 256, 512, 1024), num_heads=(4, 8, 16, 32), depths=(2, 2, 18, 2)),
}
REFERENCES = {name: (f"timm:{name}",) for name in MODELS}
