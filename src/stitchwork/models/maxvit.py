"""MaxViT: attention within a window, then attention along a grid, and the whole image is one step away.

Paper: tu2022maxvit, sections 3.1 to 3.3, table 1. A block has three parts. An inverted residual with a gate (MBConv)
mixes channels and neighbours. Block attention works within windows of P x P pixels. Grid attention takes pixels on a
coarse grid, P x P of them spread evenly over the image: as cheap as a window, and global:

    block:  (H, W) -> (H/P P, W/P P)    attention among the P x P pixels of a window
    grid:   (H, W) -> (P H/P, P W/P)    attention among the P x P pixels, H/P and W/P apart

Cost, with P^2 = 49: 2 · 49 HW C multiply-adds for each attention, linear in the pixels. MaxViT-T: 30.9 M parameters,
5.6 G multiply-adds.

Where this differs: nothing from timm's, which has the official weights, at multiples of 224 pixels: TensorFlow's
padding, GELU by its tanh formula, normalisation before the convolutions, four times the *output* channels inside
MBConv, a tanh layer in front of the classifier. For other sizes the maps are filled up to whole windows, whose zeros
are masked.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    Constant,
    DropPath,
    LayerNorm2d,
    Mlp,
    SamePad2d,
    ScaledDotProduct,
    SqueezeExcite,
    TransformerBlock,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_conv_weights,
    init_truncated_normal,
    offset_index,
    pad_to_windows,
)

PAPER = "tu2022maxvit"
CHAPTER = "19_windows"

HEAD_DIM, WINDOW = 32, 7
BatchNorm = partial(nn.BatchNorm2d, eps=1e-3)
GELUTanh = partial(nn.GELU, approximate="tanh")


class MBConv(nn.Module):
    """Normalise, expand, depthwise 3x3, gate, project; and a shortcut, averaged where the stride is 2.

    Args:
        dim: channels C.
        out_dim: channels C'.
        stride: of the depthwise convolution.
        drop_path: probability with which an image loses the branch in training.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, dim: int, out_dim: int, stride: int = 1, drop_path: float = 0.0):
        super().__init__()
        hidden, self.stride = 4 * out_dim, stride
        self.expand_shortcut = nn.Identity() if dim == out_dim else nn.Conv2d(dim, out_dim, 1)
        self.norm = BatchNorm(dim)
        self.expand = nn.Sequential(nn.Conv2d(dim, hidden, 1, bias=False), BatchNorm(hidden), GELUTanh())
        self.depthwise = nn.Sequential(
            SamePad2d(3, stride),
            nn.Conv2d(hidden, hidden, 3, stride, groups=hidden, bias=False),
            BatchNorm(hidden),
            GELUTanh(),
        )
        self.se = SqueezeExcite(hidden, out_dim // 4, act=nn.SiLU)
        self.project = nn.Conv2d(hidden, out_dim, 1)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        y = self.depthwise(self.expand(self.norm(x)))  # (B, 4 C', H / stride, W / stride)
        y = self.project(self.se(y))
        if self.stride == 2:
            x = F.avg_pool2d(pad_to_windows(x, 2, 2), 2)
        return self.expand_shortcut(x) + self.drop_path(y)


class PartitionAttention(nn.Module):
    """Attention among the pixels of a window, or among those of a grid over the whole map.

    Args:
        dim: channels C, a multiple of 32.
        grid: along a grid, or else within windows.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, grid: bool):
        super().__init__()
        self.grid = grid
        heads = dim // HEAD_DIM
        self.qkv = nn.Linear(dim, 3 * dim)
        self.table = nn.Parameter(torch.zeros(heads, 2 * WINDOW - 1, 2 * WINDOW - 1))
        self.index = Constant(partial(offset_index, WINDOW, WINDOW))
        place = "pixel of the grid" if grid else "pixel of the window"
        self.attend = ScaledDotProduct(axes=("image and partition", "head", place, place))
        self.proj = nn.Linear(dim, dim)

    def fill(self, x: Tensor) -> Tensor:
        """The map with zeros up to whole windows: (B, H, W, C) -> (B, H', W', C)."""
        return pad_to_windows(x.permute(0, 3, 1, 2), WINDOW, WINDOW).permute(0, 2, 3, 1)

    def part(self, x: Tensor) -> Tensor:
        """The windows or grids of a map that they fill: (B, H, W, C) -> (B, h, w, P^2, C)."""
        if self.grid:
            x = x.unflatten(2, (WINDOW, -1)).unflatten(1, (WINDOW, -1))  # (B, P, h, P, w, C)
            return x.permute(0, 2, 4, 1, 3, 5).flatten(3, 4)
        x = x.unflatten(2, (-1, WINDOW)).unflatten(1, (-1, WINDOW))  # (B, h, P, w, P, C)
        return x.permute(0, 1, 3, 2, 4, 5).flatten(3, 4)

    def join(self, x: Tensor) -> Tensor:
        """What :meth:`part` has taken apart: (B, h, w, P^2, C) -> (B, H, W, C)."""
        x = x.unflatten(3, (WINDOW, WINDOW))  # (B, h, w, P, P, C)
        x = x.permute(0, 3, 1, 4, 2, 5) if self.grid else x.permute(0, 1, 3, 2, 4, 5)
        return x.flatten(3, 4).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        batch, height, width, _ = x.shape
        # The offset counts from the query to the key: the index of Swin with the two exchanged.
        bias = self.table.flatten(1)[:, self.index().T][None]  # (1, heads, P^2, P^2)
        if height % WINDOW or width % WINDOW:
            real = self.fill(x.new_ones(1, height, width, 1))
            real = self.part(real).flatten(1, 2).transpose(2, 3)[0, :, None] > 0  # (windows, 1, 1, P^2)
            mask = torch.zeros_like(real, dtype=x.dtype).masked_fill(~real, float("-inf"))
            bias = (bias + mask).expand(batch, -1, -1, -1, -1).flatten(0, 1)  # (B n, heads, P^2, P^2)
        y = self.part(self.fill(x))  # (B, h, w, P^2, C)
        cells = y.shape[:3]
        q, k, v = self.qkv(y.flatten(0, 2)).unflatten(-1, (3, -1, HEAD_DIM)).permute(2, 0, 3, 1, 4)
        y = self.attend(q, k, v, bias)  # (B n, heads, P^2, 32)
        y = self.proj(y.transpose(1, 2).flatten(2)).unflatten(0, cells)
        return self.join(y)[:, :height, :width]


class MaxViTBlock(nn.Module):
    """MBConv, block attention, grid attention.

    Args:
        dim: channels C.
        out_dim: channels C'.
        stride: of the MBConv.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, dim: int, out_dim: int, stride: int = 1, drop_path: float = 0.0):
        super().__init__()
        self.conv = MBConv(dim, out_dim, stride, drop_path)
        self.block, self.grid = (
            TransformerBlock(
                out_dim,
                PartitionAttention(out_dim, grid),
                Mlp(out_dim, 4 * out_dim, GELUTanh),
                drop_path,
                eps=1e-5,
            )
            for grid in (False, True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        x = self.conv(x).permute(0, 2, 3, 1)  # (B, H', W', C')
        return self.grid(self.block(x)).permute(0, 3, 1, 2)


class MaxViT(Classifier):
    """Four stages of MaxViT blocks; the first block of each halves the map.

    Args:
        dims: channels of each stage, multiples of 32.
        depths: blocks of each stage.
        stem_dim: channels of the stem.
        num_classes: number of logits; 0 gives what the classifier sees, (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a feature is dropped before the classifier in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first (0.2 for T, 0.3 for
            S, 0.4 for B in the paper).

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        dims: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        stem_dim: int = 64,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("MaxViT", dims=min(dims), depths=min(depths), stem_dim=stem_dim)
        for dim in dims:
            check_multiple("MaxViT", dim, head_dim=HEAD_DIM)
        super().__init__(in_chans, dims[-1], dropout)
        self.pyramid_channels = tuple(dims)
        self.stem = nn.Sequential(
            SamePad2d(3, 2),
            nn.Conv2d(in_chans, stem_dim, 3, 2),
            BatchNorm(stem_dim),
            GELUTanh(),
            nn.Conv2d(stem_dim, stem_dim, 3, padding=1),
        )
        self.stages = nn.ModuleList()
        dim = stem_dim
        for out_dim, rates in zip(dims, drop_path_rates(drop_path_rate, depths)):
            stage = nn.Sequential()
            for i, rate in enumerate(rates):
                stage.append(MaxViTBlock(out_dim if i else dim, out_dim, 1 if i else 2, rate))
            self.stages.append(stage)
            dim = out_dim
        self.norm = LayerNorm2d(dim, 1e-5)
        self.hidden = nn.Linear(dim, dim)
        self.reset_head(num_classes)
        self.apply(init_conv_weights)
        self.apply(lambda module: init_truncated_normal(module) if isinstance(module, nn.Linear) else None)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stem(x)  # (B, 64, H / 2, W / 2)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]

    def pre_logits(self, x: Tensor) -> Tensor:
        """Mean over the pixels, LayerNorm, linear, tanh: (B, num_features, H', W') -> (B, num_features)."""
        return torch.tanh(self.hidden(self.norm(x.mean((2, 3), keepdim=True)).flatten(1)))


MODELS = {
    "maxvit_tiny": partial(MaxViT, (64, 128, 256, 512), (2, 2, 5, 2)),
    "maxvit_small": partial(MaxViT, (96, 192, 384, 768), (2, 2, 5, 2)),
    "maxvit_base": partial(MaxViT, (96, 192, 384, 768), (2, 6, 14, 2)),
}
REFERENCES = {name: (f"timm:{name}_tf_224",) for name in MODELS}
