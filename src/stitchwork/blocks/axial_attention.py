"""Axial attention: multi-head attention along the columns plus multi-head attention along the rows.

Paper: ho2019axial, section 3. Attention over all N = HW pixels costs N^2. Treat the image as W columns and, at the same
time, as H rows, and let every pixel attend within its column and within its row only:

    attention(z) = W_o [softmax(q_1 k_1' / sqrt(d)) v_1, ..., softmax(q_h k_h' / sqrt(d)) v_h] + b
    y = attention_H(each column of x) + attention_W(each row of x)

The two have weights of their own. Two such modules, one behind the other, reach every pixel from every pixel. In which
order the pixels of a line come is unknown to it; add a position embedding before it where that matters.

Cost: 8 C^2 + 2C parameters; 8 N C^2 + 2 N (H + W) C multiply-adds.

Growth: N^1.25 from 32² to 128² pixels, where the projections still count; N^1.5 in the end

Where this differs: the paper's layers are stacked, one axis after the other, within a Transformer with masks and shifts
for generating images pixel by pixel; its code is TensorFlow. The module in use, and here, is the widely used PyTorch
one: both axes side by side, summed, no biases in the projections of q, k and v. Copies present the whole
reversible image Transformer built on it as "axial attention"; the backward pass of that fails in evaluation mode.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive

PAPER = "ho2019axial"
CHAPTER = "06_everyone_to_everyone"


class LineAttention(nn.Module):
    """Multi-head attention within each line of pixels.

    Args:
        dim: channels C.
        heads: number of heads.
        dim_heads: channels d of each head.

    Shapes:
        (B, lines, T, C) -> (B, lines, T, C); every line of T pixels is on its own.
    """

    def __init__(self, dim: int, heads: int, dim_heads: int):
        super().__init__()
        self.dim_heads = dim_heads
        self.to_q = nn.Linear(dim, heads * dim_heads, bias=False)
        self.to_kv = nn.Linear(dim, 2 * heads * dim_heads, bias=False)
        self.to_out = nn.Linear(heads * dim_heads, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend along the third axis of (B, lines, T, C)."""
        batch, lines = x.shape[:2]
        pixels = x.flatten(0, 1)  # (B·lines, T, C): the fused kernels take one batch axis
        q, k, v = (
            y.unflatten(2, (-1, self.dim_heads)).transpose(1, 2)  # (B·lines, heads, T, d)
            for y in (self.to_q(pixels), *self.to_kv(pixels).chunk(2, -1))
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B·lines, T, heads·d)
        return self.to_out(y).unflatten(0, (batch, lines))


class AxialAttention(nn.Module):
    """Attention along the columns plus attention along the rows.

    Args:
        dim: channels C.
        heads: number of heads, along each axis.
        dim_heads: channels d of each head; C / heads without it.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``dim`` does not divide by
            ``heads`` and ``dim_heads`` is not given.
    """

    def __init__(self, dim: int, heads: int = 8, dim_heads: int | None = None):
        super().__init__()
        check_positive("AxialAttention", dim=dim, heads=heads)
        if dim_heads is None:
            check_multiple("AxialAttention", dim, heads=heads)
            dim_heads = dim // heads
        check_positive("AxialAttention", dim_heads=dim_heads)
        self.dim = dim
        self.height = LineAttention(dim, heads, dim_heads)
        self.width = LineAttention(dim, heads, dim_heads)

    def forward(self, x: Tensor) -> Tensor:
        """Let the pixels of (B, C, H, W) attend within their columns and within their rows."""
        check_image(x, self.dim, "AxialAttention")
        columns = self.height(x.permute(0, 3, 2, 1))  # (B, W, H, C)
        rows = self.width(x.permute(0, 2, 3, 1))  # (B, H, W, C)
        return (columns.transpose(1, 2) + rows).permute(0, 3, 1, 2)  # (B, C, H, W)


BLOCKS = {"axial_attention": AxialAttention}
REFERENCES = {"axial_attention": ("recorded:axial_attention",)}
