"""UFO attention: without the softmax, keys and values may meet first, and nothing is N x N.

Paper: song2021ufo, section 3. The softmax over (Q K^T) is what forces the N x N matrix: without it the product may
be bracketed the other way, Q (K^T V), where K^T V is only d x d. What the softmax did for the scale, a division by
the length does (XNorm), once for each query and once for each row of K^T V:

    XN(a) = gamma a / |a|
    y     = W_o [XN(Q) XN(K^T V)],   Q, K, V = W_q x, W_k x, W_v x, in heads of d = C/h channels

Cost: 4 C^2 + 4 C + h parameters; (4 C^2 + 2 C^2/h) N multiply-adds.

Growth: N^1

Where this differs: there is no official code. As in the version that is in use, both norms run over the last axis
(the channels of a head) and share one gamma a head. That version divides by the length as it is, so that one query
of zeros, from an image of zeros say, is 0/0 and turns the output to NaN; here a length below 1e-6 counts as 1e-6. It
also draws its weights with a standard deviation of 0.001 and takes a dropout rate that it never uses.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive, unit_length

PAPER = "song2021ufo"
CHAPTER = "07_attention_without_the_matrix"


class UFOAttention(nn.Module):
    """Linear attention with unit lengths in the place of the softmax.

    Args:
        dim: channels C.
        num_heads: h; divides C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``num_heads`` is not positive; ``num_heads``
            does not divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int = 8):
        super().__init__()
        check_positive("UFOAttention", dim=dim, num_heads=num_heads)
        check_multiple("UFOAttention", dim, num_heads=num_heads)
        self.dim = dim
        self.num_heads = num_heads
        self.query = nn.Conv2d(dim, dim, 1)
        self.key = nn.Conv2d(dim, dim, 1)
        self.value = nn.Conv2d(dim, dim, 1)
        self.gamma = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.out = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the pixels of (B, C, H, W) through one d x d matrix a head."""
        check_image(x, self.dim, "UFOAttention")
        heads = (x.shape[0], self.num_heads, self.dim // self.num_heads, x.shape[2] * x.shape[3])
        q, k, v = (layer(x).reshape(heads) for layer in (self.query, self.key, self.value))  # (B, h, d, N) each
        context = self.gamma * unit_length(k @ v.mT, 3)  # (B, h, d, d)
        q = self.gamma * unit_length(q, 2)  # (B, h, d, N)
        return self.out((context.mT @ q).reshape(x.shape))


BLOCKS = {"ufo_attention": UFOAttention}
REFERENCES = {"ufo_attention": ("recorded:ufo_attention",)}
