"""Attention whose keys and values are fewer than the pixels."""

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers.attention import ScaledDotProduct
from stitchwork.layers.checks import check_multiple, check_positive


class ReducedAttention(nn.Module):
    """Every pixel takes from every cell of s x s pixels.

    Paper: wang2021pyramid, section 3.3, eqs. 2 to 4 (spatial-reduction attention). A convolution whose stride is its
    kernel makes one key and one value of s x s pixels, so that the cost of the attention falls by s^2.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads of the attention.
        sr_ratio: side s of a cell; with 1 nothing is reduced.

    Shapes:
        (B, H, W, C) -> (B, H, W, C)

    Raises:
        ValueError: an argument is not positive, or the heads do not divide the channels.
    """

    def __init__(self, dim: int, num_heads: int, sr_ratio: int = 1):
        super().__init__()
        check_positive("ReducedAttention", dim=dim, num_heads=num_heads, sr_ratio=sr_ratio)
        check_multiple("ReducedAttention", dim, num_heads=num_heads)
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.attend = ScaledDotProduct(axes=("image", "head", "pixel", "cell"))
        self.proj = nn.Linear(dim, dim)
        self.reduce = ReduceCells(dim, sr_ratio) if sr_ratio > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        q = self.q(x).flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, N, d)
        kv = self.kv(self.reduce(x)).flatten(1, 2)  # (B, M, 2 C)
        k, v = kv.unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, M, d) each
        y = self.attend(q, k, v).transpose(1, 2).flatten(2)  # (B, N, C)
        return self.proj(y).unflatten(1, x.shape[1:3])


class ReduceCells(nn.Module):
    """One token for each cell of s x s: a convolution whose stride is its kernel, and a normalisation.

    What does not fill a cell on the right and below is left out; a map smaller than a cell is filled up with zeros.

    Args:
        dim: channels C.
        sr_ratio: side s of a cell.

    Shapes:
        (B, H, W, C) -> (B, max(1, H // s), max(1, W // s), C)
    """

    def __init__(self, dim: int, sr_ratio: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, sr_ratio, sr_ratio)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H // s, W // s, C)."""
        s = self.conv.stride[0]
        if x.shape[1] < s or x.shape[2] < s:
            x = F.pad(x, (0, 0, 0, max(0, s - x.shape[2]), 0, max(0, s - x.shape[1])))
        x = self.conv(x.permute(0, 3, 1, 2))  # (B, C, H // s, W // s)
        return self.norm(x.permute(0, 2, 3, 1))
