"""CvT: convolutions make the tokens, and the queries, keys and values as well.

Paper: wu2021cvt, sections 3.2 and 3.3, table 2. Tokens come from overlapping convolutions, in three stages. In front of
the linear projections of the attention stands a depthwise 3x3, with stride 2 for keys and values, which makes them four
times fewer. Where a pixel is the convolutions tell, so that there are no learned positions:

    q, k, v = linear(BN(dw3x3(x)))              eq. 2, each with layers of its own

Cost, with N tokens of C numbers: 2 N (N / 4) C multiply-adds for the attention. CvT-13: 20.0 M parameters, 4.6 G
multiply-adds.

Where this differs: nothing from the official code. There and here the products are scaled by 1 / √C, the width of all
heads together, and not by that of one head; GELU is x sigmoid(1.702 x). The class token joins in the last stage; it
does not pass the convolutions. Strides are 4, 8 and 16: the pyramid has three maps. The official code drops the batch
axis of a single image.
"""

from functools import partial

import torch
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    Mlp,
    OverlapPatchEmbed,
    ScaledDotProduct,
    TransformerBlock,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "wu2021cvt"
CHAPTER = "18_pyramids"

DIMS, HEADS = (64, 192, 384), (1, 3, 6)


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), close to GELU.

    Shapes:
        any -> the same
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x * torch.sigmoid(1.702 * x)


class ConvProjection(nn.Module):
    """A depthwise 3x3 with BatchNorm over the pixels, then a linear layer over all tokens.

    Args:
        dim: channels C.
        stride: of the convolution.

    Shapes:
        (B, F + hw, C), the grid (h, w) -> (B, F + ceil(h / stride) ceil(w / stride), C)
    """

    def __init__(self, dim: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride, padding=1, groups=dim, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, F + hw, C) -> (B, F + N, C)."""
        pixels = x[:, -grid[0] * grid[1] :].unflatten(1, grid).permute(0, 3, 1, 2)  # (B, C, h, w)
        pixels = self.norm(self.conv(pixels)).flatten(2).transpose(1, 2)  # (B, N, C)
        return self.proj(torch.cat([x[:, : -grid[0] * grid[1]], pixels], 1))


class ConvAttention(nn.Module):
    """Attention whose queries, keys and values are made by convolutions.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads of the attention.

    Shapes:
        (B, F + hw, C), the grid (h, w) -> (B, F + hw, C)
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v = ConvProjection(dim, 1), ConvProjection(dim, 2), ConvProjection(dim, 2)
        self.attend = ScaledDotProduct(
            dim**-0.5, axes=("image", "head", "class token, pixels", "class token, every second pixel each way")
        )
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, F + hw, C) -> (B, F + hw, C)."""
        q, k, v = (
            project(x, grid).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for project in (self.q, self.k, self.v)
        )  # (B, heads, F + N, d) each
        return self.proj(self.attend(q, k, v).transpose(1, 2).flatten(2))


class ConvBlock(TransformerBlock):
    """The transformer's block for the pixels of a map, and tokens in front of them.

    Args:
        dim: channels C.
        num_heads: heads of the attention.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, F + hw, C), the grid (h, w) -> (B, F + hw, C)
    """

    def __init__(self, dim: int, num_heads: int, drop_path: float = 0.0):
        super().__init__(dim, ConvAttention(dim, num_heads), Mlp(dim, 4 * dim, QuickGELU), drop_path, eps=1e-5)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, F + hw, C) -> (B, F + hw, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class CvT(Classifier):
    """Three stages of transformer blocks with convolutional projections.

    Args:
        depths: blocks of each stage.
        num_classes: number of logits; 0 gives the class token's last state (B, 384).
        in_chans: channels of the input image.
        dropout: probability with which a number of the class token is dropped before the head in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first of its stage (0.1 in
            the last stage in the paper).

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), H and W at least 3.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 3

    def __init__(
        self,
        depths: tuple[int, int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("CvT", depths=min(depths))
        super().__init__(in_chans, DIMS[-1], dropout)
        self.pyramid_channels = DIMS
        self.embeds, self.stages = nn.ModuleList(), nn.ModuleList()
        for index, (dim, heads, depth) in enumerate(zip(DIMS, HEADS, depths)):
            self.embeds.append(
                OverlapPatchEmbed(DIMS[index - 1], dim, 3, 2)
                if index
                else OverlapPatchEmbed(in_chans, dim, 7, 4, padding=2)
            )
            (rates,) = drop_path_rates(drop_path_rate if index == 2 else 0.0, (depth,))
            self.stages.append(nn.ModuleList(ConvBlock(dim, heads, rate) for rate in rates))
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm = nn.LayerNorm(dim)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_stages(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Three maps (B, C_i, H_i, W_i), and the last tokens (B, 1 + N, 384), the class token first."""
        self.check_input(x)
        maps = []
        for embed, blocks in zip(self.embeds, self.stages):
            x = embed(x)  # (B, h, w, C)
            grid = x.shape[1:3]
            tokens = x.flatten(1, 2)  # (B, N, C)
            if len(maps) == 2:
                tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], 1)  # (B, 1 + N, C)
            for block in blocks:
                tokens = block(tokens, grid)
            x = tokens[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)  # (B, C, h, w)
            maps.append(x)
        return maps, tokens

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Three feature maps, at strides 4, 8 and 16: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        return self.forward_stages(x)[0]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> the tokens (B, 1 + N, 384), the class token first, normalised."""
        return self.norm(self.forward_stages(x)[1])

    def pre_logits(self, x: Tensor) -> Tensor:
        """The class token: (B, 1 + N, 384) -> (B, 384)."""
        return x[:, 0]


MODELS = {"cvt_13": partial(CvT, (1, 2, 10)), "cvt_21": partial(CvT, (1, 4, 16))}
REFERENCES = {"cvt_13": ("recorded:cvt_13",), "cvt_21": ("counted:cvt_21",)}
