"""A number for each offset between two pixels of a window, added to the logits of their attention."""

from functools import partial

import torch
from torch import Tensor, nn

from stitchwork.layers.constant import Constant


class RelativePositionBias(nn.Module):
    """A learned bias for each head and each offset between query and key.

    Paper: liu2021swin, section 3.2, eq. 4. In a window of h x w pixels there are (2h - 1)(2w - 1) offsets; every pair
    of pixels with the same offset shares a number.

    Args:
        window: height h and width w of a window.
        num_heads: heads of the attention.

    Shapes:
        -> (num_heads, P, P) with P = hw: the bias of query p (row) for key p' (column)
    """

    def __init__(self, window: tuple[int, int], num_heads: int):
        super().__init__()
        h, w = window
        self.table = nn.Parameter(torch.empty((2 * h - 1) * (2 * w - 1), num_heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.index = Constant(partial(offset_index, h, w))

    def forward(self) -> Tensor:
        """(num_heads, P, P)."""
        return self.table[self.index()].permute(2, 0, 1)


def offset_index(height: int, width: int) -> Tensor:
    """For each pair of pixels of a window the row of the table that their offset has: (P, P).

    Row (dy + h - 1)(2w - 1) + dx + w - 1 belongs to the offset (dy, dx) from key to query.
    """
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y.flatten(), x.flatten()  # (P,) each
    dy, dx = y[:, None] - y + height - 1, x[:, None] - x + width - 1  # (P, P) each
    return dy * (2 * width - 1) + dx
