"""SEA: attention along the two axes of an image that has been averaged flat, and a convolution for the details.

Paper: wan2023seaformer, section 3.2. Axial attention runs along every row and every column. SEA first averages the
columns away, which leaves one line of H tokens, and the rows away, which leaves one of W, and attends within these two
lines. What is lost in the averaging, a depthwise convolution of q, k and v brings back:

    r = BN(W_r act(attention(mean over W of q + p_rq, k + p_rk, v)))            a line of H
    c = BN(W_c act(attention(mean over H of q + p_cq, k + p_ck, v)))            a line of W
    g = hard sigmoid(BN(W_g act(v + r + c)))                                    r, c repeated over the image
    y = g * BN(W_d act(BN(depthwise 3x3 [q; k; v])))

q, k, v are 1x1 convolutions with BatchNorm, act is ReLU6; p are four position tables of 16 entries, stretched to H or
W by linear interpolation.

Cost: with D = heads · key_dim and E = attn_ratio · D, C (4 D + 3 E) + 9 (2 D + E) weights, each used once a pixel, and
2 E^2 used once a token of the two lines; (H^2 + W^2)(D + E) multiply-adds for the attention.

Growth: N^1

Where this differs: the gate is the hard sigmoid and the activation the ReLU6 of the official code and its networks. As
there, three of the BatchNorms start with a weight of zero, so that the gate starts at one half everywhere. Popular
copies take sigmoid and ReLU, so that official weights give other numbers, and count the channels of the depthwise
convolution as 2 E, which is right for ``attn_ratio=2`` alone and fails for others.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import ConvNormAct, ReLU6, check_image, check_positive

PAPER = "wan2023seaformer"
CHAPTER = "06_everyone_to_everyone"


class SqueezedAttention(nn.Module):
    """Multi-head attention along one line, with positions, then activation and projection.

    Args:
        heads: number of heads.
        key_dim: channels of a query or key, for each head.
        value_dim: channels of a value, for each head.
        positions: entries of the two position tables, which are stretched to the line's length.

    Shapes:
        q, k (B, heads·key_dim, T) and v (B, heads·value_dim, T) -> (B, heads·value_dim, T, 1)
    """

    def __init__(self, heads: int, key_dim: int, value_dim: int, positions: int):
        super().__init__()
        self.heads = heads
        self.position_q = nn.Parameter(torch.randn(1, heads * key_dim, positions))
        self.position_k = nn.Parameter(torch.randn(1, heads * key_dim, positions))
        self.proj = nn.Sequential(nn.ReLU6(), ConvNormAct(heads * value_dim, heads * value_dim, act=None))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Let the T tokens of a line attend to each other."""
        length = q.shape[2]
        q = q + F.interpolate(self.position_q, size=length, mode="linear")
        k = k + F.interpolate(self.position_k, size=length, mode="linear")
        q, k, v = (y.unflatten(1, (self.heads, -1)).transpose(2, 3) for y in (q, k, v))  # (B, heads, T, d)
        y = F.scaled_dot_product_attention(q, k, v)  # (B, heads, T, value_dim)
        return self.proj(y.transpose(2, 3).flatten(1, 2).unsqueeze(3))


class SeaAttention(nn.Module):
    """Squeeze-enhanced axial attention.

    Args:
        dim: channels C.
        key_dim: channels of a query or key, for each head.
        num_heads: number of heads.
        attn_ratio: channels of a value relative to those of a key; rounded down.
        positions: entries of each position table, for an image of any size.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). In training B·H and B·W must be greater than 1, for the BatchNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``attn_ratio`` leaves the
            values without a channel.
    """

    def __init__(self, dim: int, key_dim: int = 16, num_heads: int = 4, attn_ratio: float = 2.0, positions: int = 16):
        super().__init__()
        check_positive(
            "SeaAttention", dim=dim, key_dim=key_dim, num_heads=num_heads, attn_ratio=attn_ratio, positions=positions
        )
        value_dim = int(attn_ratio * key_dim)
        if value_dim < 1:
            raise ValueError(
                f"SeaAttention: attn_ratio must be at least 1 / key_dim to leave a value; got attn_ratio {attn_ratio} "
                f"and key_dim {key_dim}"
            )
        keys, values = num_heads * key_dim, num_heads * value_dim
        self.dim, self.channels = dim, [keys, keys, values]
        self.to_q = ConvNormAct(dim, keys, act=None)
        self.to_k = ConvNormAct(dim, keys, act=None)
        self.to_v = ConvNormAct(dim, values, act=None)
        self.row = SqueezedAttention(num_heads, key_dim, value_dim, positions)
        self.column = SqueezedAttention(num_heads, key_dim, value_dim, positions)
        self.proj = nn.Sequential(ReLU6(), ConvNormAct(values, dim, act=None))
        self.gate = nn.Hardsigmoid()
        total = sum(self.channels)
        self.detail = nn.Sequential(
            ConvNormAct(total, total, 3, groups=total, act=ReLU6), ConvNormAct(total, dim, act=None)
        )
        for last in (self.row.proj[1], self.column.proj[1], self.proj[1]):
            nn.init.zeros_(last.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Gate the details of (B, C, H, W) by what its rows and its columns have agreed on."""
        check_image(x, self.dim, "SeaAttention")
        v = self.to_v(x)
        qkv = torch.cat([self.to_q(x), self.to_k(x), v], 1)  # (B, 2 D + E, H, W)
        rows = self.row(*qkv.mean(3).split(self.channels, 1))  # (B, E, H, 1)
        columns = self.column(*qkv.mean(2).split(self.channels, 1)).transpose(2, 3)  # (B, E, 1, W)
        return self.gate(self.proj(v + (rows + columns))) * self.detail(qkv)


BLOCKS = {"sea_attention": SeaAttention}
REFERENCES = {"sea_attention": ("recorded:sea_attention",)}
