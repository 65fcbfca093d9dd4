"""Swin: attention in windows, which move by half a window in every other block.

Paper: liu2021swin, sections 3.1 and 3.2. Attention within windows of M x M pixels costs the same for every pixel of
whatever image, but no window would ever hear of its neighbours. So every other block shifts the windows by M / 2. The
shift is done by rolling the image; in the windows at its end, pixels then lie beside others that come from the opposite
border, and a mask keeps these apart:

    attention = softmax(q kᵀ / √d + B) v            eq. 4, B: a number for each offset within the window

Between the stages 2 x 2 pixels become one (4 C numbers, mapped to 2 C).

Cost, with HW pixels of C channels: 2 M^2 HW C multiply-adds for the attention, 12 HW C^2 for the layers (eq. 2).
Swin-T: 28.3 M parameters, 4.5 G multiply-adds.

Where this differs: nothing from timm's, which has the official weights, where windows fill the maps (224 pixels and its
multiples). Elsewhere the maps are filled up to whole windows, and here the zeros are kept out of the softmax; the
official code lets them in. Along an axis that one window covers there is no shift. What the mask excludes has -inf, not
-100. Copies forget to roll back, or build the mask for one size and use it for another.
"""

from functools import partial

import torch
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    DropPath,
    Mlp,
    PatchEmbed,
    RelativePositionBias,
    ScaledDotProduct,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
    join_windows,
    pad_to_windows,
    split_windows,
)

PAPER = "liu2021swin"
CHAPTER = "19_windows"
AXES = ("image and window", "head", "pixel of the window", "pixel of the window")


def shift_of(size: tuple[int, int], window: int) -> tuple[int, int]:
    """By how many rows and columns shifted windows move: half a window, and not at all where one covers the axis."""
    return tuple(window // 2 if side > window else 0 for side in size)


def window_bias(size: tuple[int, int], window: int, shift: tuple[int, int], like: Tensor) -> Tensor | None:
    """What is added to the logits of each window: 0 where query and key belong together, else -inf.

    Two pixels of a rolled image belong together if both or none of them have come around each border. The zeros that
    fill up the windows are keys to nobody.

    Args:
        size: height and width of the image.
        window: side M of a window.
        shift: rows and columns by which the image was rolled.
        like: a tensor of the device and the type.

    Returns:
        (windows, 1, P, P) with P = M^2; ``None`` where there is nothing to keep apart.
    """
    filled = [side + -side % window for side in size]
    if shift == (0, 0) and filled == list(size):
        return None
    labels, inside = [], []
    for side, full, moved in zip(size, filled, shift):
        place = torch.arange(full, device=like.device)
        labels.append(place >= full - moved)
        inside.append((place + moved) % full < side)
    label = 2 * labels[0][:, None] + labels[1]  # (H', W'): which borders a pixel has come around
    real = inside[0][:, None] & inside[1]
    parts = split_windows(torch.stack([label, real.to(label)])[None], window, window).flatten(1, 2)  # (1, n, P, 2)
    label, real = parts[0, ..., 0], parts[0, ..., 1] > 0  # (windows, P)
    # A query that is itself filling may see everything: its output is cut off, and -inf alone would give NaN.
    together = ((label[:, :, None] == label[:, None]) & real[:, None]) | ~real[:, :, None]
    return torch.zeros_like(together, dtype=like.dtype).masked_fill(~together, float("-inf"))[:, None]


class WindowAttention(nn.Module):
    """Attention within windows, with a bias for each offset.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads of the attention.
        window: side M of a window.

    Shapes:
        windows (B, n, P, C), bias (n, 1, P, P) or None -> (B, n, P, C), with P = M^2
    """

    def __init__(self, dim: int, num_heads: int, window: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.position = RelativePositionBias((window, window), num_heads)
        self.attend = ScaledDotProduct(axes=AXES)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(B, n, P, C) -> (B, n, P, C)."""
        batch, windows = x.shape[:2]
        x = x.flatten(0, 1)  # (B n, P, C)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B n, heads, P, d) each
        position = self.position()[None]  # (1, heads, P, P)
        if bias is not None:
            position = (position + bias).expand(batch, -1, -1, -1, -1).flatten(0, 1)  # (B n, heads, P, P)
        y = self.attend(q, k, v, position)  # (B n, heads, P, d)
        return self.proj(y.transpose(1, 2).flatten(2)).unflatten(0, (batch, windows))


class SwinBlock(nn.Module):
    """Attention within windows, shifted or not, then a perceptron for each pixel.

    Args:
        dim: channels C.
        num_heads: heads of the attention.
        window: side of a window.
        shifted: move the windows by half their side.
        mlp_ratio: width of the feed-forward part over ``dim``.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(
        self, dim: int, num_heads: int, window: int, shifted: bool, mlp_ratio: float = 4.0, drop_path: float = 0.0
    ):
        super().__init__()
        self.window, self.shifted = window, shifted
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(mlp_ratio * dim))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self.attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def attend(self, x: Tensor) -> Tensor:
        """Fill up, roll, cut into windows, attend; and all of it back: (B, H, W, C) -> (B, H, W, C)."""
        size, side = tuple(x.shape[1:3]), self.window
        shift = shift_of(size, side) if self.shifted else (0, 0)
        y = pad_to_windows(x.permute(0, 3, 1, 2), side, side).permute(0, 2, 3, 1)  # (B, H', W', C)
        filled = y.shape[1:3]
        if shift != (0, 0):
            y = y.roll((-shift[0], -shift[1]), (1, 2))
        y = split_windows(y.permute(0, 3, 1, 2), side, side)  # (B, h, w, P, C)
        grid = y.shape[1:3]
        y = self.attn(y.flatten(1, 2), window_bias(size, side, shift, x)).unflatten(1, grid)
        y = join_windows(y, side, side, filled).permute(0, 2, 3, 1)  # (B, H', W', C)
        if shift != (0, 0):
            y = y.roll(shift, (1, 2))
        return y[:, : size[0], : size[1]]


class PatchMerging(nn.Module):
    """Four neighbouring pixels become one of twice the channels.

    Args:
        dim: channels C.

    Shapes:
        (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2 C)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, h, w, 2 C)."""
        x = pad_to_windows(x.permute(0, 3, 1, 2), 2, 2).permute(0, 2, 3, 1)
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, h, 2, w, 2, C)
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)  # (B, h, w, 4 C): the upper left, the lower left, the two right ones
        return self.reduction(self.norm(x))


class Swin(Classifier):
    """Four stages of window attention.

    Args:
        dim: channels of the first stage; each further one has twice as many.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        window: side of a window in pixels of the map.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a pooled feature is dropped in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first (0.2 for T, 0.3 for
            S, 0.5 for B in the paper).

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
        window: int = 7,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("Swin", dim=dim, depths=min(depths), num_heads=min(num_heads), window=window)
        check_multiple("Swin", dim, num_heads=num_heads[0])
        super().__init__(in_chans, 8 * dim, dropout)
        self.pyramid_channels = tuple(dim * 2**stage for stage in range(4))
        self.patch_embed = PatchEmbed(in_chans, dim, 4, nn.LayerNorm)
        self.stages = nn.ModuleList()
        for index, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            stage = nn.Sequential()
            if index:
                stage.merge = PatchMerging(self.pyramid_channels[index - 1])
            stage.blocks = nn.Sequential(
                *[
                    SwinBlock(self.pyramid_channels[index], num_heads[index], window, i % 2 == 1, drop_path=rate)
                    for i, rate in enumerate(rates)
                ]
            )
            self.stages.append(stage)
        self.norm = nn.LayerNorm(8 * dim)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.patch_embed(x).permute(0, 3, 1, 2)  # (B, C, H / 4, W / 4)
        maps = []
        for stage in self.stages:
            x = stage(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, C_i, H_i, W_i)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32), normalised."""
        x = self.forward_pyramid(x)[-1].permute(0, 2, 3, 1)
        return self.norm(x).permute(0, 3, 1, 2)


MODELS = {
    "swin_tiny": partial(Swin, dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    "swin_small": partial(Swin, dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    "swin_base": partial(Swin, dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    "swin_large": partial(Swin, dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
}
REFERENCES = {name: (f"timm:{name}_patch4_window7_224",) for name in MODELS}
