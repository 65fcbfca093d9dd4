"""Focal Transformer: what is near is seen sharply, what is far is seen summed up.

Paper: yang2021focal, sections 3.2 and 3.3, table 1. A window of 7 x 7 pixels attends to three rings at once: its own
pixels and a margin of three pixels around them, one by one; and the windows around it, each summed up to one token by a
learned mean. So few keys reach far, as the eye is sharp in its centre and dim around:

    keys = [window 49 | margin 132 | f x f windows around, one token each],  f = 7, 5, 3, 1 in the four stages

with a bias for each offset of the first, each place of the second, each offset of the third.

Cost: 49 (49 + 132 + f^2) 2 C multiply-adds a window for the attention. Focal-T: 28.9 M parameters, 5.0 G multiply-adds.

Where this differs: nothing from the official code at 224 pixels. There and here the margin of a window at the border is
that of the opposite border, unmasked, and the last stage, whose map is one window, has no margin. Windows beyond the
border are masked. For other sizes the maps are filled up with zeros to whole windows; zeros are keys to nobody.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    Constant,
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

PAPER = "yang2021focal"
CHAPTER = "19_windows"

WINDOW, AREA, MARGIN, FOCAL_WINDOWS = 7, 49, 3, (7, 5, 3, 1)
# The image is rolled to each of four corners, so that a window's place shows its neighbourhood on that side.
CORNERS = [(-MARGIN, -MARGIN), (-MARGIN, MARGIN), (MARGIN, -MARGIN), (MARGIN, MARGIN)]


def margin_index() -> list[int]:
    """Which of the 4 · 49 pixels of the rolled windows lie outside the window itself: 132 of them."""

    def beyond(place: int, roll: int) -> bool:
        return place >= WINDOW - MARGIN if roll < 0 else place < MARGIN

    places = [(down, right, y, x) for down, right in CORNERS for y in range(WINDOW) for x in range(WINDOW)]
    return [i for i, (down, right, y, x) in enumerate(places) if beyond(y, down) or beyond(x, right)]


def window_index(focal_window: int) -> Tensor:
    """For each pixel of a window and each window around it the place of their offset: (49, f^2)."""
    side = WINDOW + focal_window - 1
    place = torch.arange(WINDOW)[:, None] - torch.arange(focal_window) + focal_window - 1  # (7, f): query - key
    return (place[:, None, :, None] * side + place[None, :, None, :]).reshape(AREA, -1)


class FocalAttention(nn.Module):
    """Attention of a window to itself, to its margin and to the windows around it.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads of the attention.
        focal_window: f; f x f windows are seen, the window itself among them.
        margin: see the pixels around the window.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, num_heads: int, focal_window: int, margin: bool):
        super().__init__()
        self.num_heads, self.focal = num_heads, focal_window
        self.pool = nn.Linear(AREA, 1)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.position = RelativePositionBias((WINDOW, WINDOW), num_heads)
        if margin:
            self.margin_bias = nn.Parameter(torch.empty(1, num_heads, AREA, len(margin_index())))
            nn.init.trunc_normal_(self.margin_bias, std=0.02)
            self.outside = Constant(partial(torch.tensor, margin_index()))
        else:
            self.margin_bias = None
        side = WINDOW + focal_window - 1
        self.window_bias = nn.Parameter(torch.empty(num_heads, side * side))
        nn.init.trunc_normal_(self.window_bias, std=0.02)
        self.window_index = Constant(partial(window_index, focal_window))
        self.attend = ScaledDotProduct(
            axes=(
                "image and window",
                "head",
                "pixel of the window",
                "pixel of the window, of its margin; windows",
            )
        )
        self.proj = nn.Linear(dim, dim)

    def near(self, x: Tensor) -> Tensor:
        """The pixels of each window and of its margin: (B, H, W, C) -> (B, h, w, 49 + 132, C)."""
        own = split_windows(x.permute(0, 3, 1, 2), WINDOW, WINDOW)  # (B, h, w, 49, C)
        if self.margin_bias is None:
            return own
        rolled = [split_windows(x.roll(by, (1, 2)).permute(0, 3, 1, 2), WINDOW, WINDOW) for by in CORNERS]
        return torch.cat([own, torch.cat(rolled, 3)[:, :, :, self.outside()]], 3)

    def far(self, x: Tensor) -> Tensor:
        """The f x f summed-up windows around each: (B, h, w, C) -> (B, h, w, f^2, C), zeros beyond the border."""
        grid = x.shape[1:3]
        around = F.unfold(x.permute(0, 3, 1, 2), self.focal, padding=self.focal // 2)  # (B, C f^2, hw)
        return around.unflatten(1, (x.shape[3], -1)).permute(0, 3, 2, 1).unflatten(1, grid)

    def bias(self) -> Tensor:
        """What is added to the products of the 49 queries with all keys: (1, heads, 49, keys)."""
        parts = [self.position()[None]]
        if self.margin_bias is not None:
            parts.append(self.margin_bias)
        parts.append(self.window_bias[:, self.window_index()][None])
        return torch.cat(parts, 3)

    def mask(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """0 for the keys of each window that are there, -inf for others: (h w, 1, 1, keys)."""
        real = F.pad(x.new_ones(1, *size, 1), (0, 0, 0, x.shape[2] - size[1], 0, x.shape[1] - size[0]))
        windows = x.new_ones(1, x.shape[1] // WINDOW, x.shape[2] // WINDOW, 1)
        there = torch.cat([self.near(real), self.far(windows)], 3)[0, ..., 0].flatten(0, 1) > 0  # (h w, keys)
        return torch.zeros_like(there, dtype=x.dtype).masked_fill(~there, float("-inf"))[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        size, batch = x.shape[1:3], x.shape[0]
        x = pad_to_windows(x.permute(0, 3, 1, 2), WINDOW, WINDOW).permute(0, 2, 3, 1)  # (B, H', W', C)
        pooled = self.pool(split_windows(x.permute(0, 3, 1, 2), WINDOW, WINDOW).transpose(3, 4))[..., 0]  # (B, h, w, C)
        grid = pooled.shape[1:3]
        q, k, v = self.qkv(x).chunk(3, -1)  # (B, H', W', C) each
        _, k_far, v_far = self.qkv(pooled).chunk(3, -1)  # (B, h, w, C) each
        q = split_windows(q.permute(0, 3, 1, 2), WINDOW, WINDOW)  # (B, h, w, 49, C)
        k, v = (torch.cat([self.near(a), self.far(b)], 3) for a, b in ((k, k_far), (v, v_far)))  # (B, h, w, keys, C)
        q, k, v = (part.flatten(0, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
        bias = self.bias() + self.mask(x, size)  # (h w, heads, 49, keys)
        bias = bias.expand(batch, -1, -1, -1, -1).flatten(0, 1)  # (B h w, heads, 49, keys)
        y = self.attend(q, k, v, bias)  # (B h w, heads, 49, d)
        y = self.proj(y.transpose(1, 2).flatten(2)).unflatten(0, (batch, *grid))  # (B, h, w, 49, C)
        return join_windows(y, WINDOW, WINDOW, size).permute(0, 2, 3, 1)


class FocalBlock(nn.Module):
    """Focal attention, then a perceptron for each pixel.

    Args:
        dim: channels C.
        num_heads: heads of the attention.
        focal_window: f; f x f windows are seen.
        margin: see the pixels around the window.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, num_heads: int, focal_window: int, margin: bool, drop_path: float = 0.0):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), FocalAttention(dim, num_heads, focal_window, margin)
        self.norm2, self.mlp = nn.LayerNorm(dim), Mlp(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class FocalTransformer(Classifier):
    """Four stages of focal attention.

    Args:
        dim: channels of the first stage; each further one has twice as many.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a pooled feature is dropped in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first (0.2 for T, 0.3 for S
            and B in the paper).

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
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("FocalTransformer", dim=dim, depths=min(depths), num_heads=min(num_heads))
        check_multiple("FocalTransformer", dim, num_heads=num_heads[0])
        super().__init__(in_chans, 8 * dim, dropout)
        self.pyramid_channels = tuple(dim * 2**stage for stage in range(4))
        self.stages = nn.ModuleList()
        for index, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            width = self.pyramid_channels[index]
            stage = nn.Sequential()
            stage.patch_embed = PatchEmbed(width // 2 if index else in_chans, width, 2 if index else 4, nn.LayerNorm)
            stage.blocks = nn.Sequential(
                *[FocalBlock(width, num_heads[index], FOCAL_WINDOWS[index], index < 3, rate) for rate in rates]
            )
            self.stages.append(stage)
        self.norm = nn.LayerNorm(8 * dim)
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
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32), normalised."""
        x = self.forward_pyramid(x)[-1].permute(0, 2, 3, 1)
        return self.norm(x).permute(0, 3, 1, 2)


MODELS = {
    "focal_tiny": partial(FocalTransformer, dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    "focal_small": partial(FocalTransformer, dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    "focal_base": partial(FocalTransformer, dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
}
REFERENCES = {name: ("recorded:focal_tiny",) if name == "focal_tiny" else (f"counted:{name}",) for name in MODELS}
