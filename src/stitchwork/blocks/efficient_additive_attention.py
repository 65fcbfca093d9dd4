"""Efficient additive attention: sum up all queries in one vector, and let every key meet that one alone.

Paper: shaker2023swiftformer, section 3.2. Attention compares each query with each key. Here the queries are first
averaged to a single global query, weighted by how much a learned vector w likes each of them; what is left of the
comparison is a product, channel by channel, of every key with that vector:

    q_i = unit(W_q x_i),   k_i = unit(W_k x_i)          unit(a) = a / |a|
    a   = unit over the pixels of (q_1 . w, ..., q_N . w)                eq. 3
    g   = sum over i of a_i q_i                                          eq. 4
    y_i = W_o (W_p (g * k_i) + q_i)                                      eq. 5

There are no values, and nothing is ever N x N.

Cost, with D = num_heads C: 3 C D + D^2 + 4 D + C parameters; (3 C D + D^2 + 2 D) N multiply-adds.

Growth: N^1

Where this differs: the paper divides the weights q_i . w by sqrt(D) and leaves them at that. The official code, and
this, brings queries, keys and weights to unit length; its division by sqrt(D) before that has no effect, so it is
not here. There is no softmax in either: the weights may be negative. The official class returns ``token_dim``
channels whatever goes in; its ``num_heads`` only multiplies the width of q and k, no head is ever split off, and its
networks use one. Because every query is of unit length, what comes out of a freshly drawn W_o would be sqrt(D) too
small: W_o starts with unit variance.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive, unit_length

PAPER = "shaker2023swiftformer"
CHAPTER = "07_attention_without_the_matrix"


class EfficientAdditiveAttention(nn.Module):
    """Every key times one global query.

    Args:
        dim: channels C.
        num_heads: makes queries and keys num_heads · C wide; they stay one head.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``num_heads`` is not positive.
    """

    def __init__(self, dim: int, num_heads: int = 1):
        super().__init__()
        check_positive("EfficientAdditiveAttention", dim=dim, num_heads=num_heads)
        width = num_heads * dim
        self.dim = dim
        self.query = nn.Conv2d(dim, width, 1)
        self.key = nn.Conv2d(dim, width, 1)
        self.weight = nn.Parameter(torch.randn(width, 1))
        self.project = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, dim, 1)
        nn.init.normal_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the pixels of (B, C, H, W) through one global query (B, D)."""
        check_image(x, self.dim, "EfficientAdditiveAttention")
        query = unit_length(self.query(x), 1)  # (B, D, H, W)
        key = unit_length(self.key(x), 1)  # (B, D, H, W)
        tokens = query.flatten(2)  # (B, D, N)
        likes = unit_length(self.weight.mT @ tokens, 2)  # (B, 1, N)
        shared = (tokens @ likes.mT)[..., None]  # (B, D, 1, 1)
        return self.out(self.project(shared * key) + query)


BLOCKS = {"efficient_additive_attention": EfficientAdditiveAttention}
REFERENCES = {"efficient_additive_attention": ("recorded:efficient_additive_attention",)}
