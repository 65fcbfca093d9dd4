"""Multi-head external attention: a small memory that every one of many narrow heads reads.

Paper: guo2022external, section 3.3. The image is widened to 4 C channels and split into heads; all heads look in the
same memory of S slots, so that a memory of a few hundred numbers serves the whole image:

    F   = W_1 x + b_1                                              C -> 4 C, in 4 h heads of d = C/h channels
    A   = normalised twice (M_k F_head + b_k), as in single-head external attention
    y   = W_2 [M_v A + b_v of all heads] + b_2                     4 C -> C

Cost, with 4 h heads of d = C/h channels: 8 C^2 + 5 C + 2 S d + S + d parameters; (8 C^2 + 8 S C) N multiply-adds.

Growth: N^1

Where this differs: the official code is followed: the caller's ``num_heads`` is multiplied by 4, and the memory has
256 / 4 = 64 slots. The biases b_1 and b_k shift all pixels' logits of a slot alike, so that the softmax over the
pixels takes them away again; they are here because published weights have them. There is no residual connection and
no BatchNorm in this version: it takes the place of self-attention in a transformer block. Every slot's value starts
as a standard normal vector, as a row of an embedding does: the weights of the slots sum to one, and smaller values
would average to nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive

PAPER = "guo2022external"
CHAPTER = "07_attention_without_the_matrix"


class MultiHeadExternalAttention(nn.Module):
    """Many narrow heads that read one memory.

    Args:
        dim: channels C.
        num_heads: h; divides C. There are 4 h heads of C / h channels.
        slots: S, size of the memory.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``num_heads`` does not
            divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int = 8, slots: int = 64):
        super().__init__()
        check_positive("MultiHeadExternalAttention", dim=dim, num_heads=num_heads, slots=slots)
        check_multiple("MultiHeadExternalAttention", dim, num_heads=num_heads)
        self.dim = dim
        self.head_dim = dim // num_heads
        self.embed = nn.Conv2d(dim, 4 * dim, 1)
        self.memory_key = nn.Conv1d(self.head_dim, slots, 1)
        self.softmax = nn.Softmax(2)
        self.memory_value = nn.Conv1d(slots, self.head_dim, 1)
        self.project = nn.Conv2d(4 * dim, dim, 1)
        for layer in (self.embed, self.memory_key, self.project):
            nn.init.normal_(layer.weight, std=layer.in_channels**-0.5)
        nn.init.normal_(self.memory_value.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Replace each pixel of (B, C, H, W) by what its heads find in the memory."""
        check_image(x, self.dim, "MultiHeadExternalAttention")
        height, width = x.shape[2:]
        heads = self.embed(x).reshape(x.shape[0], -1, self.head_dim, height * width)  # (B, 4h, d, N)
        # Head by head: the weights of all heads at once, S x N each, would leave the cache.
        found = torch.stack([self.read(head) for head in heads.unbind(1)], 1)  # (B, 4h, d, N)
        return self.project(found.reshape(-1, 4 * self.dim, height, width))

    def read(self, head: Tensor) -> Tensor:
        """What one head (B, d, N) finds in the memory: (B, d, N)."""
        attention = self.softmax(self.memory_key(head))  # (B, S, N)
        # The second normalisation divides the d channels that come out, where it is cheaper than on the S slots.
        found = F.conv1d(attention, self.memory_value.weight) / (1e-9 + attention.sum(1, keepdim=True))
        return found + self.memory_value.bias[:, None]


BLOCKS = {"multi_head_external_attention": MultiHeadExternalAttention}
REFERENCES = {"multi_head_external_attention": ("recorded:external_attention.multi_head",)}
