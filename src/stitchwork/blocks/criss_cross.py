"""Criss-cross attention: every pixel attends to its row and its column, and, done twice, to the whole image.

Paper: huang2019ccnet, section 3.2. Attention of all N = HW pixels to all N costs N^2. A pixel's cross, the pixels of
its column and its row, has only H + W - 1:

    d_i = q_i · k_j  for j in the cross of i            eq. 1,  q, k: C -> C/8
    y_i = gamma sum_j softmax_j(d_i) v_j + x_i          eq. 2,  v: C -> C

Any two pixels are joined by two steps, along a row and along a column, so that a second pass with the same weights
(``recurrence=2``) brings news from everywhere.

Cost: C^2 + C^2/4 + 5C/4 + 1 parameters; for each pass N C^2 + N C^2/4 + N (H + W) (C + C/8) multiply-adds, and a map of
N (H + W) weights.

Growth: N^1.5

Where this differs: the paper's eq. 2 has no gamma; the official code has it, starting at zero, so that the module
starts as the identity. CCNet applies the module twice (R = 2); the official module is one pass, and so is the default
here. A pixel lies both in its row and in its column and must count once: its place in the column gets a logit of minus
infinity. In popular copies that mask is on a fixed device and of a fixed precision, so that they fail on others; a
comment takes it for a mask of the pixel itself; and the second pass is forgotten. Below eight channels the official
code has no query at all; here it has one. The keys' bias moves all logits of a pixel alike: it never learns.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "huang2019ccnet"
CHAPTER = "06_everyone_to_everyone"


class CrissCrossAttention(nn.Module):
    """Attention of every pixel to its column and its row, added with a learned gain.

    Args:
        dim: channels C.
        reduction: how much narrower queries and keys are; they have max(1, C // reduction) channels.
        recurrence: R, how many times the same attention is applied; with 2 every pixel reaches every pixel.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive.
    """

    def __init__(self, dim: int, reduction: int = 8, recurrence: int = 1):
        super().__init__()
        check_positive("CrissCrossAttention", dim=dim, reduction=reduction, recurrence=recurrence)
        width = max(1, dim // reduction)
        self.dim, self.recurrence = dim, recurrence
        self.query = nn.Linear(dim, width)
        self.key = nn.Linear(dim, width)
        self.value = nn.Linear(dim, dim)
        self.softmax = nn.Softmax(dim=-1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of (B, C, H, W), each (B, H, W, channels)."""
        pixels = x.permute(0, 2, 3, 1).contiguous()
        return self.query(pixels), self.key(pixels), self.value(pixels)

    def compare(self, q: Tensor, k: Tensor) -> Tensor:
        """The logits of every pixel for its column and its row: (B, H, W, H + W)."""
        column = q.transpose(1, 2) @ k.permute(0, 2, 3, 1)  # (B, W, H, H): pixel (h, w) with pixel (j, w)
        row = q @ k.transpose(2, 3)  # (B, H, W, W): pixel (h, w) with pixel (h, j)
        itself = torch.eye(q.shape[1], dtype=torch.bool, device=q.device)
        column = column.masked_fill_(itself, float("-inf"))  # it is in the row already
        return torch.cat([column.transpose(1, 2), row], -1)

    def attend(self, x: Tensor) -> Tensor:
        """What every pixel of (B, C, H, W) finds in its cross."""
        q, k, v = self.project(x)
        column, row = self.softmax(self.compare(q, k)).split(x.shape[2:], -1)
        from_column = column.transpose(1, 2) @ v.transpose(1, 2)  # (B, W, H, C)
        return (from_column.transpose(1, 2) + row @ v).permute(0, 3, 1, 2)  # (B, C, H, W)

    def forward(self, x: Tensor) -> Tensor:
        """Add to every pixel of (B, C, H, W) what it finds in its cross, ``recurrence`` times."""
        check_image(x, self.dim, "CrissCrossAttention")
        for _ in range(self.recurrence):
            x = torch.addcmul(x, self.gamma, self.attend(x))
        return x


BLOCKS = {"criss_cross": CrissCrossAttention}
REFERENCES = {"criss_cross": ("recorded:criss_cross", "recorded:criss_cross.twice")}
