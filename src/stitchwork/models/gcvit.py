"""GC-ViT: every window asks its own question, then every window is asked the question of the whole image.

Paper: hatamizadeh2023gcvit, sections 2.1 to 2.3, table 1 of its appendix. Blocks take turns: in one, attention within
windows as usual; in the next, the queries come from elsewhere: a few convolutions shrink the stage's map to the size of
one window, and these global queries, the same for all windows of an image, meet the keys and values of each window. So
a window learns what matters to the image without leaving its place:

    local:   softmax(q kᵀ / √d + B) v               q, k, v from the window
    global:  softmax(g kᵀ / √d + B) v               g from the whole image, eq. 2

Cost, with windows of P pixels: 2 P HW C multiply-adds for either attention. GC-ViT-T: 28.2 M parameters, 4.8 G
multiply-adds.

Where this differs: nothing from timm's, which has the official weights, at 224 pixels. The official code repeats the
global queries so that in a batch a window can get those of another image; here, as in timm, each image has its own. For
other sizes the maps are filled up to whole windows, whose zeros are masked, and global queries of another size than a
window are interpolated.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    DropPath,
    LayerNorm2d,
    Mlp,
    RelativePositionBias,
    ScaledDotProduct,
    SqueezeExcite,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
    join_windows,
    padding_bias,
    split_windows,
)

PAPER = "hatamizadeh2023gcvit"
CHAPTER = "19_windows"

EPS, WINDOWS, LEVELS = 1e-5, (7, 7, 14, 7), (3, 2, 0, 0)  # of each stage; the levels halve 56, 28 to 7 pixels


class FusedConv(nn.Module):
    """Depthwise 3x3, a gate by squeeze and excitation, 1x1, and a shortcut; no normalisation.

    Args:
        dim: channels C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.act = nn.GELU()
        self.se = SqueezeExcite(dim, dim // 4, act=nn.GELU, bias=False)
        self.pointwise = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.pointwise(self.se(self.act(self.depthwise(x))))


class Downsample(nn.Sequential):
    """Normalise, mix, halve by a strided 3x3, normalise.

    Args:
        dim: channels in.
        out_dim: channels out.

    Shapes:
        (B, dim, H, W) -> (B, out_dim, ceil(H / 2), ceil(W / 2))
    """

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        self.norm1 = LayerNorm2d(dim, EPS)
        self.mix = FusedConv(dim)
        self.reduction = nn.Conv2d(dim, out_dim, 3, 2, padding=1, bias=False)
        self.norm2 = LayerNorm2d(out_dim, EPS)


class GlobalQuery(nn.Module):
    """The map of a stage at the size of one window.

    Args:
        dim: channels C.
        levels: how often it is halved; with 0 it is only mixed once.
        window: side of a window.

    Shapes:
        (B, C, H, W) -> (B, P, C) with P = window^2
    """

    def __init__(self, dim: int, levels: int, window: int):
        super().__init__()
        self.window = window
        self.blocks = nn.Sequential()
        for _ in range(max(1, levels)):
            self.blocks.append(FusedConv(dim))
            if levels:
                self.blocks.append(nn.MaxPool2d(3, 2, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, P, C)."""
        x = self.blocks(x)
        if x.shape[2] != self.window or x.shape[3] != self.window:
            x = F.interpolate(x, (self.window, self.window), mode="bilinear")
        return x.flatten(2).transpose(1, 2)


class WindowAttention(nn.Module):
    """Attention within windows, by queries of their own or by those of the image.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads of the attention.
        window: side of a window.
        use_global: the queries are given.

    Shapes:
        (B, H, W, C), global queries (B, P, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, num_heads: int, window: int, use_global: bool):
        super().__init__()
        self.num_heads, self.window, self.use_global = num_heads, window, use_global
        self.qkv = nn.Linear(dim, (2 if use_global else 3) * dim)
        self.position = RelativePositionBias((window, window), num_heads)
        query = "query of the image" if use_global else "pixel of the window"
        self.attend = ScaledDotProduct(axes=("image and window", "head", query, "pixel of the window"))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        """(B, H, W, C) and (B, P, C) -> (B, H, W, C)."""
        size, side, batch = x.shape[1:3], self.window, x.shape[0]
        padding = padding_bias(size, side, side, x)
        x = split_windows(x.permute(0, 3, 1, 2), side, side)  # (B, h, w, P, C)
        grid = x.shape[1:3]
        x = x.flatten(0, 2)  # (B n, P, C), the windows of an image together
        parts = self.qkv(x).unflatten(-1, (-1, self.num_heads, x.shape[-1] // self.num_heads))
        *own, k, v = parts.permute(2, 0, 3, 1, 4)  # (B n, heads, P, d) each
        if self.use_global:
            query = query.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, P, d)
            windows = grid[0] * grid[1]
            own = [query[:, None].expand(-1, windows, -1, -1, -1).flatten(0, 1)]
        bias = self.position()[None]  # (1, heads, P, P)
        if padding is not None:
            bias = (bias + padding.flatten(0, 1)).expand(batch, -1, -1, -1, -1).flatten(0, 1)  # (B n, heads, P, P)
        y = self.attend(own[0], k, v, bias).transpose(1, 2).flatten(2)  # (B n, P, C)
        y = self.proj(y).unflatten(0, (batch, *grid))
        return join_windows(y, side, side, size).permute(0, 2, 3, 1)


class ChannelScale(nn.Module):
    """A learned factor for each channel, which starts small.

    Args:
        dim: channels C.
        init: the factor at the start.

    Shapes:
        (..., C) -> (..., C)
    """

    def __init__(self, dim: int, init: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return x * self.gamma


class GCViTBlock(nn.Module):
    """Attention within windows, then a perceptron for each pixel.

    Args:
        dim: channels C.
        num_heads: heads of the attention.
        window: side of a window.
        use_global: the queries are those of the image.
        mlp_ratio: width of the feed-forward part over ``dim``.
        layer_scale: the branches' factors at the start; ``None`` for none.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, H, W, C), global queries (B, P, C) -> (B, H, W, C)
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: int,
        use_global: bool,
        mlp_ratio: float,
        layer_scale: float | None,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = WindowAttention(dim, num_heads, window, use_global)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, int(mlp_ratio * dim))
        self.scale1, self.scale2 = (
            nn.Identity() if layer_scale is None else ChannelScale(dim, layer_scale) for _ in range(2)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        """(B, H, W, C) and (B, P, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self.scale1(self.attn(self.norm1(x), query)))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))


class GCViT(Classifier):
    """Four stages whose blocks ask local and global questions in turn.

    Args:
        dim: channels of the first stage; each further one has twice as many.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        mlp_ratio: width of the feed-forward part over the channels.
        layer_scale: the branches' factors at the start; ``None`` for none.
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
        dim: int,
        depths: tuple[int, int, int, int],
        num_heads: tuple[int, int, int, int],
        mlp_ratio: float = 3.0,
        layer_scale: float | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("GCViT", dim=dim, depths=min(depths), num_heads=min(num_heads), mlp_ratio=mlp_ratio)
        if layer_scale is not None:
            check_positive("GCViT", layer_scale=layer_scale)
        check_multiple("GCViT", dim, num_heads=num_heads[0])
        super().__init__(in_chans, 8 * dim, dropout)
        self.pyramid_channels = tuple(dim * 2**stage for stage in range(4))
        self.stem = nn.Sequential(nn.Conv2d(in_chans, dim, 3, 2, padding=1), Downsample(dim, dim))
        self.stages = nn.ModuleList()
        for index, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            width, window = self.pyramid_channels[index], WINDOWS[index]
            stage = nn.Module()
            stage.downsample = Downsample(width // 2, width) if index else nn.Identity()
            stage.query = GlobalQuery(width, LEVELS[index], window)
            stage.blocks = nn.ModuleList(
                GCViTBlock(width, num_heads[index], window, i % 2 == 1, mlp_ratio, layer_scale, rate)
                for i, rate in enumerate(rates)
            )
            self.stages.append(stage)
        self.norm = nn.LayerNorm(8 * dim, eps=EPS)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stem(x)  # (B, C, H / 4, W / 4)
        maps = []
        for stage in self.stages:
            x = stage.downsample(x)
            query = stage.query(x)  # (B, P, C)
            x = x.permute(0, 2, 3, 1)  # (B, h, w, C)
            for block in stage.blocks:
                x = block(x, query)
            x = x.permute(0, 3, 1, 2)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32), normalised."""
        x = self.forward_pyramid(x)[-1].permute(0, 2, 3, 1)
        return self.norm(x).permute(0, 3, 1, 2)


MODELS = {
    "gcvit_xxtiny": partial(GCViT, dim=64, depths=(2, 2, 6, 2), num_heads=(2, 4, 8, 16)),
    "gcvit_xtiny": partial(GCViT, dim=64, depths=(3, 4, 6, 5), num_heads=(2, 4, 8, 16)),
    "gcvit_tiny": partial(GCViT, dim=64, depths=(3, 4, 19, 5), num_heads=(2, 4, 8, 16)),
    "gcvit_small": partial(
        GCViT, dim=96, depths=(3, 4, 19, 5), num_heads=(3, 6, 12, 24), mlp_ratio=2.0, layer_scale=1e-5
    ),
    "gcvit_base": partial(
        GCViT, dim=128, depths=(3, 4, 19, 5), num_heads=(4, 8, 16, 32), mlp_ratio=2.0, layer_scale=1e-5
    ),
}
REFERENCES = {name: (f"timm:{name}",) for name in MODELS}
