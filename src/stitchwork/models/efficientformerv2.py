"""EfficientFormerV2: a transformer with the size and the speed of a MobileNet, found by a search over both.

Paper: li2023rethinking, sections 3.1 to 3.3, figure 2. Most blocks are only a feed-forward part with a depthwise 3x3
between its two layers, so that it sees its neighbours; the last blocks of the two late stages also attend. What makes
the attention cheap enough for a telephone:

* it works at half the resolution in the third stage, and is scaled up again (stride attention);
* a depthwise 3x3 of the values is added, for what is near (locality);
* 1x1 convolutions over the heads, before and after the softmax, let the heads talk (talking heads);
* the last downsampling attends from every second pixel to all (dual-path downsampling).

With queries Q and keys K, a bias B for each distance, and mixtures M1, M2 of heads:

    A = M2 softmax(M1 (Q Kᵀ / √d + B)),    y = W gelu(A V + dw3x3(V))

Cost of the attention in stage 3, with N pixels: 2 (N / 4)^2 · 5 d for each head, d = 32. S0: 3.6 M parameters, 0.4 G
multiply-adds.

Where this differs: nothing from timm's at 224 pixels, which has the official weights: every convolution has a bias in
front of its BatchNorm, there is no normalisation at the entrance of a branch, and the two heads are averaged in
evaluation, and in training unless they are asked for apart. timm's network takes the one size of its training; ours
any: distances beyond those of the table count as its largest.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    AttentionWeights,
    Classifier,
    Constant,
    ConvNormAct,
    DropPath,
    LayerScale,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)
from stitchwork.models.deit import TwoHeads

PAPER = "li2023rethinking"
CHAPTER = "23_evit_unet"

HEADS, EXPAND = 8, 4


class GELU(nn.Module):
    """GELU that also takes its fast kernel where the channels come last in memory.

    On the CPU that kernel only takes contiguous tensors; for others PyTorch has one that needs twice the time. Each
    number is treated for itself, so the axes may be named in the order in which they lie in memory.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if x.is_contiguous():
            return F.gelu(x)
        return F.gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


Conv = partial(ConvNormAct, act=None, bias=True)
ConvGELU = partial(ConvNormAct, act=GELU, bias=True)


class DistanceBias(nn.Module):
    """A number for each head and each distance between query and key, rows and columns apart.

    Args:
        num_heads: heads of the attention.
        side: rows and columns of the map that the table is made for; larger distances count as ``side - 1``.
        step: every ``step``-th row and column has queries; all have keys.

    Shapes:
        -> (num_heads, queries, keys)
    """

    def __init__(self, num_heads: int, side: int, step: int = 1):
        super().__init__()
        self.side, self.step = side, step
        self.table = nn.Parameter(torch.zeros(num_heads, side * side))
        self.index = Constant(partial(distance_index, side, side, side, step))

    def forward(self, height: int, width: int) -> Tensor:
        """The bias of a map with so many rows and columns of keys."""
        # A compiled graph is for all sizes, so there the index is computed with it.
        if (height, width) == (self.side, self.side) and not torch.compiler.is_compiling():
            index = self.index()
        else:
            index = distance_index(height, width, self.side, self.step, self.table.device)
        return self.table.index_select(1, index.flatten()).unflatten(1, index.shape)


def distance_index(height: int, width: int, side: int, step: int = 1, device: torch.device | None = None) -> Tensor:
    """For each pair of query and key the column of a table of side x side distances: (queries, keys)."""
    rows, columns = (torch.arange(size, device=device) for size in (height, width))
    dy = (rows[::step, None] - rows).abs().clamp(max=side - 1)  # (h, H)
    dx = (columns[::step, None] - columns).abs().clamp(max=side - 1)  # (w, W)
    index = dy[:, None, :, None] * side + dx[:, None]  # (h, w, H, W)
    return index.flatten(2).flatten(0, 1)


class Talk(nn.Linear):
    """Mixtures of heads: for each head a weighted sum of all.

    Shapes:
        (B, heads, queries, keys) -> the same
    """

    def __init__(self):
        super().__init__(HEADS, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, heads, queries, keys) -> the same."""
        return (self.weight @ x.flatten(2) + self.bias[:, None]).unflatten(2, x.shape[2:])


class TalkingAttention(nn.Module):
    """Attention among all pixels, or among those of half the resolution, with heads that talk.

    Args:
        dim: channels C.
        side: rows and columns of the map for which the distances have biases.
        stride: 2 works at half the resolution.
        key_dim: numbers d of a query and of a key; a value has four times as many.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, side: int, stride: int = 1, key_dim: int = 32):
        super().__init__()
        self.stride, self.scale = stride, key_dim**-0.5
        keys, values = HEADS * key_dim, HEADS * EXPAND * key_dim
        if stride > 1:
            self.shrink = Conv(dim, dim, 3, stride, groups=dim)
        self.q, self.k, self.v = Conv(dim, keys), Conv(dim, keys), Conv(dim, values)
        self.local = Conv(values, values, 3, groups=values)
        self.position = DistanceBias(HEADS, -(-side // stride))
        self.talk1, self.talk2 = Talk(), Talk()
        self.weights = AttentionWeights(("image", "head", "query", "key"))
        self.proj = nn.Sequential(GELU(), Conv(values, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        size = x.shape[2:]
        if self.stride > 1:
            x = self.shrink(x)
        grid = x.shape[2:]
        q, k = heads_of(self.q(x)), heads_of(self.k(x))  # (B, heads, N, d)
        value = self.v(x)
        weights = (self.scale * q) @ k.transpose(2, 3) + self.position(*grid)  # (B, heads, N, N)
        weights = self.weights(self.talk1(weights).softmax(dim=3))
        y = self.talk2(weights) @ heads_of(value)  # (B, heads, N, 4 d)
        y = pixels_of(y, grid) + self.local(value)
        if self.stride > 1:
            y = F.interpolate(y, scale_factor=self.stride, mode="bilinear")[:, :, : size[0], : size[1]]
        return self.proj(y)


class LocalGlobalQuery(nn.Module):
    """Queries for every second pixel: the pixel itself, and a depthwise 3x3 around it.

    Args:
        dim: channels C.
        out_dim: channels of the queries.

    Shapes:
        (B, C, H, W) -> (B, out_dim, ceil(H / 2), ceil(W / 2))
    """

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        self.local = nn.Conv2d(dim, dim, 3, 2, padding=1, groups=dim)
        self.proj = Conv(dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_dim, ceil(H / 2), ceil(W / 2))."""
        return self.proj(self.local(x) + x[:, :, ::2, ::2])


class DownsamplingAttention(nn.Module):
    """Every second pixel attends to all.

    Args:
        dim: channels C.
        out_dim: channels C'.
        side: rows and columns of the map for which the distances have biases.
        key_dim: numbers d of a query and of a key; a value has four times as many.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))
    """

    def __init__(self, dim: int, out_dim: int, side: int, key_dim: int = 16):
        super().__init__()
        self.scale = key_dim**-0.5
        keys, values = HEADS * key_dim, HEADS * EXPAND * key_dim
        self.q, self.k, self.v = LocalGlobalQuery(dim, keys), Conv(dim, keys), Conv(dim, values)
        self.local = Conv(values, values, 3, 2, groups=values)
        self.position = DistanceBias(HEADS, side, step=2)
        self.weights = AttentionWeights(("image", "head", "query", "key"))
        self.proj = nn.Sequential(GELU(), Conv(values, out_dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))."""
        value = self.v(x)
        local = self.local(value)  # (B, 4 heads d, h, w)
        bias = self.position(*x.shape[2:])  # (heads, h w, H W)
        # Written out: a value is wider than a key, for which few fused kernels are made.
        weights = (self.scale * heads_of(self.q(x))) @ heads_of(self.k(x)).transpose(2, 3) + bias
        y = self.weights(weights.softmax(dim=3)) @ heads_of(value)  # (B, heads, h w, 4 d)
        return self.proj(pixels_of(y, local.shape[2:]) + local)


def heads_of(x: Tensor) -> Tensor:
    """(B, heads d, H, W) -> (B, heads, H W, d)."""
    return x.flatten(2).unflatten(1, (HEADS, -1)).transpose(2, 3)


def pixels_of(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, heads, H W, d) -> (B, heads d, H, W), with the channels last in memory, as they scale up fastest."""
    return x.transpose(1, 2).flatten(2).transpose(1, 2).unflatten(2, grid)


class Downsample(nn.Module):
    """A convolution with stride 2, and beside it, in front of the last stage, an attention.

    Args:
        dim: channels C.
        out_dim: channels C'.
        side: of the map for which the attention's distances have biases; ``None`` leaves the attention out.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))
    """

    def __init__(self, dim: int, out_dim: int, side: int | None = None):
        super().__init__()
        self.conv = Conv(dim, out_dim, 3, 2)
        self.attn = None if side is None else DownsamplingAttention(dim, out_dim, side)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))."""
        y = self.conv(x)
        return y if self.attn is None else y + self.attn(x)


class EfficientFormerBlock(nn.Module):
    """Attention, if there is one, and a feed-forward part that sees its neighbours; each scaled, with a shortcut.

    Args:
        dim: channels C.
        mlp_ratio: width of the feed-forward part over C.
        attn: lets the pixels talk; ``None`` leaves them to the feed-forward part's 3x3.
        drop_path_rate: probability with which an image loses a branch in training.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, mlp_ratio: float, attn: nn.Module | None = None, drop_path_rate: float = 0.0):
        super().__init__()
        self.attn = attn
        if attn is not None:
            self.scale1 = LayerScale(dim, 1e-5)
        hidden = int(mlp_ratio * dim)
        self.mlp = nn.Sequential(ConvGELU(dim, hidden), ConvGELU(hidden, hidden, 3, groups=hidden), Conv(hidden, dim))
        self.scale2 = LayerScale(dim, 1e-5)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if self.attn is not None:
            x = self.scale1(self.drop_path(self.attn(x)), x)
        return self.scale2(self.drop_path(self.mlp(x)), x)


class TwoHeadsOnOneFeature(TwoHeads):
    """DeiT's two classifiers, both on the pooled features.

    Args:
        dim: channels C.
        num_classes: number of logits.
        apart: in training, give the logits of both in the place of their mean.

    Shapes:
        (B, C) -> (B, num_classes); in training, with ``apart``, (B, 2, num_classes)
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) -> (B, num_classes) or (B, 2, num_classes)."""
        return super().forward(torch.cat([x, x], 1))


class EfficientFormerV2(Classifier):
    """A stem and four stages of feed-forward blocks, of which the last ones of the two late stages attend.

    Args:
        dims: channels of the four stages.
        mlp_ratios: for each stage the feed-forward widths of its blocks, over its channels.
        num_attention: blocks with attention at the end of the third and of the fourth stage.
        num_classes: number of logits; 0 gives the pooled features (B, dims[3]).
        in_chans: channels of the input image.
        train_size: height and width of the images for whose distances the attention has biases; others may come.
        distilled_training: in training, give the logits of both heads, (B, 2, num_classes), the label's first.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first (0.02 for S1, 0.06
            for S2, 0.1 for L in the official recipe).
        dropout: probability with which a pooled feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        dims: tuple[int, int, int, int],
        mlp_ratios: tuple[tuple[float, ...], ...],
        num_attention: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        train_size: int = 224,
        distilled_training: bool = False,
        drop_path_rate: float = 0.0,
        dropout: float = 0.0,
    ):
        check_positive("EfficientFormerV2", dims=min(dims), mlp_ratios=min(map(min, mlp_ratios)), train_size=train_size)
        super().__init__(in_chans, dims[3], dropout)
        self.pyramid_channels = tuple(dims)
        self.distilled_training = distilled_training
        self.stem = nn.Sequential(ConvGELU(in_chans, dims[0] // 2, 3, 2), ConvGELU(dims[0] // 2, dims[0], 3, 2))
        rates = drop_path_rates(drop_path_rate, tuple(map(len, mlp_ratios)))
        self.stages = nn.ModuleList(
            encoder_stage(dims, stage, mlp_ratios[stage], num_attention, train_size, rates[stage]) for stage in range(4)
        )
        self.norm = nn.BatchNorm2d(dims[3])
        self.reset_head(num_classes)

    def reset_head(self, num_classes: int) -> None:
        """Put two fresh linear classifiers on the pooled features, or none at all if ``num_classes`` is 0."""
        super().reset_head(num_classes)
        if num_classes:
            self.head = TwoHeadsOnOneFeature(self.head_features, num_classes, self.distilled_training)
            self.head.apply(init_truncated_normal)

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
        return self.norm(self.forward_pyramid(x)[-1])


def encoder_stage(
    dims: tuple[int, ...],
    stage: int,
    mlp_ratios: tuple[float, ...],
    num_attention: int,
    train_size: int,
    drop_path: list[float],
) -> nn.Sequential:
    """Stage 0, 1, 2 or 3: its downsampling, but for the first, and its blocks.

    Args:
        dims: channels of the four stages.
        stage: which one.
        mlp_ratios: feed-forward widths of its blocks, over its channels.
        num_attention: blocks with attention at its end, where it is one of the last two.
        train_size: pixels of the images for whose distances the attention has biases.
        drop_path: rates of its blocks.
    """
    side = -(-train_size // 2 ** (stage + 2))
    parts = nn.Sequential()
    if stage:
        parts.downsample = Downsample(dims[stage - 1], dims[stage], -(-train_size // 16) if stage == 3 else None)
    parts.blocks = efficient_blocks(
        dims[stage], mlp_ratios, num_attention if stage > 1 else 0, side, stage == 2, drop_path
    )
    return parts


def efficient_blocks(
    dim: int,
    mlp_ratios: tuple[float, ...],
    num_attention: int,
    side: int,
    half: bool,
    drop_path: list[float],
) -> nn.Sequential:
    """Blocks in a row, of which the last attend.

    Args:
        dim: channels C.
        mlp_ratios: feed-forward widths, over C.
        num_attention: blocks with attention at the end.
        side: of the map for which the attention's distances have biases.
        half: attend at half the resolution.
        drop_path: rates of the blocks.

    Raises:
        ValueError: fewer than no blocks attend, or more than there are.
    """
    if not 0 <= num_attention <= len(mlp_ratios):
        raise ValueError(
            f"num_attention must be between 0 and {len(mlp_ratios)}, the blocks of the stage; got {num_attention}"
        )
    first = len(mlp_ratios) - num_attention
    return nn.Sequential(
        *[
            EfficientFormerBlock(
                dim, ratio, TalkingAttention(dim, side, 2 if half else 1) if index >= first else None, drop_path[index]
            )
            for index, ratio in enumerate(mlp_ratios)
        ]
    )


# For each variant the channels, the feed-forward widths of the four stages, and how many blocks attend.
RATIOS_L = ((4,) * 5, (4,) * 5, (4,) * 4 + (3,) * 7 + (4,) * 4, (4,) * 3 + (3,) * 4 + (4,) * 3)
RATIOS_S2 = ((4,) * 4, (4,) * 4, (4,) * 2 + (3,) * 6 + (4,) * 4, (4,) * 2 + (3,) * 4 + (4,) * 2)
RATIOS_S1 = ((4,) * 3, (4,) * 3, (4,) * 2 + (3,) * 4 + (4,) * 3, (4,) * 2 + (3,) * 2 + (4,) * 2)
RATIOS_S0 = ((4,) * 2, (4,) * 2, (4,) + (3,) * 3 + (4,) * 2, (4,) + (3,) * 2 + (4,))
VARIANTS = {
    "s0": ((32, 48, 96, 176), RATIOS_S0, 2),
    "s1": ((32, 48, 120, 224), RATIOS_S1, 2),
    "s2": ((32, 64, 144, 288), RATIOS_S2, 4),
    "l": ((40, 80, 192, 384), RATIOS_L, 6),
}
MODELS = {f"efficientformerv2_{size}": partial(EfficientFormerV2, *facts) for size, facts in VARIANTS.items()}
REFERENCES = {name: (f"timm:{name}",) for name in MODELS}
