"""Coordinate attention: average along one axis only, so that the position along the other survives.

Paper: hou2021coordinate, section 3. A mean over the whole image forgets where things were. Two means, one over each
row and one over each column, remember the row and the column:

    z^h_c(i) = mean over j of x_c(i, j),   z^w_c(j) = mean over i of x_c(i, j)      eq. 4, 5
    f        = hard_swish(BN(W1 [z^h; z^w]))                                        eq. 6,  W1: C -> max(8, C/r)
    g^h      = sigmoid(W_h f^h),           g^w = sigmoid(W_w f^w)                   eq. 7, 8
    y_c(i,j) = x_c(i, j) g^h_c(i) g^w_c(j)                                          eq. 9

Cost, with m = max(8, C/r): 3 C m + 3 m + 2 C parameters; 2 C m (H + W) multiply-adds for the gates and 2 BCHW for the
scaling.

Growth: N^1 with the number of pixels N = HW.

Where this differs: nothing in the result. As in the official code, W1 has a bias, which the BatchNorm behind it
subtracts again, so that training never moves it. The official code calls the input ``identity``, as if there were a
residual connection; it is a factor (eq. 9).
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "hou2021coordinate"
CHAPTER = "02_se_cbam_coordatt"


class CoordAttention(nn.Module):
    """One gate for each row and one for each column, in every channel.

    Args:
        dim: channels C.
        reduction: r; the shared bottleneck has m = max(8, C // r) channels.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``reduction`` is not positive.
    """

    def __init__(self, dim: int, reduction: int = 32):
        super().__init__()
        check_positive("CoordAttention", dim=dim, reduction=reduction)
        hidden = max(8, dim // reduction)
        self.dim = dim
        self.mix = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.BatchNorm2d(hidden), nn.Hardswish())
        self.conv_h = nn.Conv2d(hidden, dim, 1)
        self.conv_w = nn.Conv2d(hidden, dim, 1)
        self.gate_h = nn.Sigmoid()
        self.gate_w = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale the rows and the columns of (B, C, H, W)."""
        check_image(x, self.dim, "CoordAttention")
        height, width = x.shape[2:]
        rows = x.mean(3, keepdim=True)  # (B, C, H, 1)
        columns = x.mean(2, keepdim=True).transpose(2, 3)  # (B, C, W, 1)
        mixed = self.mix(torch.cat([rows, columns], 2))  # (B, m, H + W, 1)
        rows, columns = mixed.split([height, width], 2)  # (B, m, H, 1), (B, m, W, 1)
        gate_h = self.gate_h(self.conv_h(rows))  # (B, C, H, 1)
        gate_w = self.gate_w(self.conv_w(columns.transpose(2, 3)))  # (B, C, 1, W)
        return x * gate_h * gate_w


BLOCKS = {"coord_attention": CoordAttention}
REFERENCES = {"coord_attention": ("recorded:coord_attention",)}
