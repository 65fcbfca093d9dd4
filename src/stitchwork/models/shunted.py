"""Shunted: in one layer, some heads see coarse keys and some see fine ones.

Paper: ren2022shunted, sections 3.1 and 3.2. PVT reduces the keys of a whole layer to one size of cell, so that small
things vanish for all heads alike. Here the heads are parted: one half attends to cells of s x s pixels, the other to
cells of half that side, so that large and small things are kept side by side:

    k_i, v_i = linear_i(gelu(LN(SR_{s_i}(x)))),   v_i += dw3x3(v_i)           eqs. 2 and 3
    ffn(x)   = W_2 gelu(h + dw3x3(h)),   h = W_1 x                            eq. 6

Cost, with N tokens of C numbers and cells of s x s: N^2 C (1 / s^2 + 4 / s^2) multiply-adds for the attention.
Shunted-T: 11.6 M parameters, 2.1 G multiply-adds.

Where this differs: nothing from the official code. In the last stage, where nothing is reduced, the convolution of the
values is added to what the attention gives, and not to the values in front of it. Each stage ends with a normalisation,
which the next one begins with.
"""

from functools import partial

import torch
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    OverlapPatchEmbed,
    PatchEmbed,
    ReduceCells,
    ScaledDotProduct,
    TransformerBlock,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "ren2022shunted"
CHAPTER = "18_pyramids"

DIMS, HEADS, MLP_RATIOS, SR_RATIOS = (64, 128, 256, 512), (2, 4, 8, 16), (8, 8, 4, 4), (8, 4, 2, 1)


class ShuntedKeys(nn.Module):
    """Keys and values of half the heads, from cells of one size.

    Args:
        dim: channels C.
        num_heads: heads that share these keys, of C / 2 numbers together.
        cell: side of a cell.

    Shapes:
        (B, H, W, C) -> keys and values (B, num_heads, M, d)
    """

    def __init__(self, dim: int, num_heads: int, cell: int):
        super().__init__()
        self.num_heads = num_heads
        self.reduce = ReduceCells(dim, cell)
        self.act = nn.GELU()
        self.kv = nn.Linear(dim, dim)
        self.local = nn.Conv2d(dim // 2, dim // 2, 3, padding=1, groups=dim // 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) -> keys and values (B, num_heads, M, d)."""
        k, v = self.kv(self.act(self.reduce(x))).chunk(2, -1)  # (B, h, w, C / 2) each
        v = v + self.local(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return heads(k, self.num_heads), heads(v, self.num_heads)


def heads(x: Tensor, number: int) -> Tensor:
    """(B, H, W, C) -> (B, number, HW, C / number)."""
    return x.flatten(1, 2).unflatten(-1, (number, -1)).transpose(1, 2)


class ShuntedAttention(nn.Module):
    """Half of the heads attend to large cells, half to cells of half the side.

    Args:
        dim: channels C.
        num_heads: heads, an even number.
        cell: side of the large cells.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, num_heads: int, cell: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.coarse = ShuntedKeys(dim, num_heads // 2, cell)
        self.fine = ShuntedKeys(dim, num_heads // 2, cell // 2)
        self.attend = nn.ModuleList(
            ScaledDotProduct(axes=("image", "head", "pixel", f"cell of {side} x {side}")) for side in (cell, cell // 2)
        )
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        q = heads(self.q(x), self.num_heads).chunk(2, 1)  # (B, heads / 2, N, d) each
        y = [attend(q, *keys(x)) for attend, q, keys in zip(self.attend, q, (self.coarse, self.fine))]
        return self.proj(torch.cat(y, 1).transpose(1, 2).flatten(2)).unflatten(1, x.shape[1:3])


class LocalAttention(nn.Module):
    """Full attention, and a depthwise convolution of the values beside it: for the last stage.

    Args:
        dim: channels C.
        num_heads: heads of the attention.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.attend = ScaledDotProduct(axes=("image", "head", "pixel", "pixel"))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        k, v = self.kv(x).chunk(2, -1)  # (B, H, W, C) each
        y = self.attend(*(heads(part, self.num_heads) for part in (self.q(x), k, v)))  # (B, heads, N, d)
        y = y.transpose(1, 2).flatten(2).unflatten(1, x.shape[1:3])  # (B, H, W, C)
        return self.proj(y + self.local(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class DetailMlp(nn.Module):
    """Feed-forward whose hidden layer adds a depthwise 3x3 of itself.

    Args:
        dim: channels C.
        hidden: width of the hidden layer.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = self.fc1(x)  # (B, H, W, hidden)
        return self.fc2(self.act(x + self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)))


class ShuntedTransformer(Classifier):
    """Four stages of transformer blocks with shunted attention.

    Args:
        depths: blocks of each stage.
        num_conv: 3x3 convolutions in the stem besides its first.
        num_classes: number of logits; 0 gives the pooled features (B, 512).
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
        depths: tuple[int, int, int, int],
        num_conv: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("ShuntedTransformer", depths=min(depths))
        if num_conv < 0:
            raise ValueError(f"ShuntedTransformer: num_conv must be at least 0; got {num_conv}")
        super().__init__(in_chans, DIMS[-1], dropout)
        self.pyramid_channels = DIMS
        self.stages = nn.ModuleList()
        for index, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            dim, cell = DIMS[index], SR_RATIOS[index]
            stage = nn.Sequential()
            stage.embed = (
                OverlapPatchEmbed(DIMS[index - 1], dim, 3, 2)
                if index
                else nn.Sequential(
                    ConvNormAct(in_chans, 64, 7, 2),
                    *[ConvNormAct(64, 64, 3) for _ in range(num_conv)],
                    PatchEmbed(64, dim, 2, nn.LayerNorm),
                )
            )
            stage.blocks = nn.Sequential()
            for rate in rates:
                attn = ShuntedAttention(dim, HEADS[index], cell) if cell > 1 else LocalAttention(dim, HEADS[index])
                stage.blocks.append(TransformerBlock(dim, attn, DetailMlp(dim, dim * MLP_RATIOS[index]), rate))
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
        """(B, in_chans, H, W) -> (B, 512, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]


MODELS = {
    "shunted_tiny": partial(ShuntedTransformer, (1, 2, 4, 1), num_conv=0),
    "shunted_small": partial(ShuntedTransformer, (2, 4, 12, 1), num_conv=1),
    "shunted_base": partial(ShuntedTransformer, (3, 4, 24, 2), num_conv=2),
}
REFERENCES = {name: ("recorded:shunted_tiny",) if name == "shunted_tiny" else (f"counted:{name}",) for name in MODELS}
