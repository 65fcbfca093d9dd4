"""External attention: look things up in a memory that all images share, in the place of the image itself.

Paper: guo2022external, section 3. The keys and values of self-attention come from the image, N of each. Here they
are parameters: a memory of S slots, the same for every image, learned from all of them.

    F = W_1 x + b_1
    A = softmax over the pixels of M_k F,  then A_ki = A_ki / (1e-9 + sum over k of A_ki)     eq. 7 to 9
    y = relu(x + BN(W_2 M_v A))

The first normalisation lets the pixels compete for a slot, the second makes each pixel's weights sum to one.

Cost: 2 C^2 + 2 S C + 3 C parameters; 2 S C N + 2 S C^2 multiply-adds: W_1 and M_k, and likewise M_v and W_2, are
maps one after the other with nothing in between, so their small matrices are multiplied before the pixels come in,
which saves the 2 C^2 N of the usual form.

Growth: N^1

Where this differs: the official code is followed. It makes M_v share the memory of M_k transposed, as one tensor
seen twice; the first ``.cuda()`` silently breaks the tie, so the published networks were trained with two memories
that only start alike. Here they start alike and are two parameters, wherever the module goes. W_1 has a bias as in
the official code, although the softmax over the pixels takes it away again. The widely copied version keeps the two
memories alone: no W_1, W_2, BatchNorm, residual or ReLU, and no 1e-9, without which a pixel whose weights underflow
is 0/0.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "guo2022external"
CHAPTER = "07_attention_without_the_matrix"


class ExternalAttention(nn.Module):
    """Attention to a learned memory of S slots.

    Args:
        dim: channels C.
        slots: S, size of the memory.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). In training B·H·W must be greater than 1, for the BatchNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``slots`` is not positive.
    """

    def __init__(self, dim: int, slots: int = 64):
        super().__init__()
        check_positive("ExternalAttention", dim=dim, slots=slots)
        self.dim = dim
        self.embed = nn.Conv2d(dim, dim, 1)
        self.memory_key = nn.Parameter(torch.empty(slots, dim))
        self.memory_value = nn.Parameter(torch.empty(dim, slots))
        self.softmax = nn.Softmax(2)
        self.project = nn.Conv2d(dim, dim, 1, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        self.act = nn.ReLU()
        nn.init.normal_(self.embed.weight, std=math.sqrt(2 / dim))
        nn.init.normal_(self.project.weight, std=math.sqrt(2 / dim))
        nn.init.normal_(self.memory_key, std=math.sqrt(2 / slots))
        with torch.no_grad():
            self.memory_value.copy_(self.memory_key.mT)

    def forward(self, x: Tensor) -> Tensor:
        """Add to (B, C, H, W) what each pixel finds in the memory."""
        check_image(x, self.dim, "ExternalAttention")
        read = self.memory_key @ self.embed.weight.flatten(1)  # (S, C)
        write = self.project.weight.flatten(1) @ self.memory_value  # (C, S)
        logits = F.conv2d(x, read[..., None, None], self.memory_key @ self.embed.bias)  # (B, S, H, W)
        attention = self.softmax(logits.flatten(2)).reshape(logits.shape)  # (B, S, H, W), over the pixels
        attention = attention / (1e-9 + attention.sum(1, keepdim=True))  # over the slots
        found = F.conv2d(attention, write[..., None, None])  # (B, C, H, W)
        return self.act(x + self.norm(found))


BLOCKS = {"external_attention": ExternalAttention}
REFERENCES = {"external_attention": ("recorded:external_attention",)}
