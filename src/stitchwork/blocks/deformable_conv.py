"""Deformable convolution: let every pixel choose where its kernel looks.

Paper: zhu2019deformable, section 3.2, and for version 1 dai2017deformable, section 2.1. A second convolution looks at
the same image and says, for each pixel p and each tap k, how far to move the tap, and in version 2 also how much it
counts. A point between pixels is read by bilinear interpolation, and outside the image there are zeros:

    y(p) = sum over k of  w_k  m_k(p)  x(p + d k + offset_k(p))          version 1: m_k = 1
    offset = conv_3x3(x),   m = sigmoid(conv_3x3(x))

Both of these convolutions start at zero, so that training begins with the plain convolution (halved in version 2, where
sigmoid(0) = 1/2).

Cost, with P = k^2 taps: P C^2 + 2 P (9 C + 1) parameters, and P (9 C + 1) more in version 2; as many multiply-adds a
pixel, and 4 P C for the interpolation.
Growth: N^1

Where this differs: the first P channels of the offsets are rows and the other P columns, as in the PyTorch version in
widest use; the authors' kernel and torchvision interleave them (row, column, row, column, ...). That version always
starts from the second pixel of the padded image, so that a kernel of 3 with padding 1 is the only one that it gets
right; and it means to slow the learning of the offsets to a tenth by a hook that returns nothing and has no effect (put
the two convolutions in a parameter group of their own).
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import bilinear, check_image, check_positive, weighted_sums, zero_border

PAPER = "zhu2019deformable"
CHAPTER = "09_kernels_that_look_elsewhere"


class DeformableConv(nn.Module):
    """A k x k convolution with taps that move, and in version 2 fade, from pixel to pixel.

    Args:
        dim: channels C.
        kernel_size: k; odd.
        dilation: d, distance of the taps before they move.
        modulated: version 2, with a factor for each tap.
        bias: a bias for each channel.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``kernel_size`` is even.
    """

    def __init__(self, dim: int, kernel_size: int = 3, dilation: int = 1, modulated: bool = True, bias: bool = False):
        super().__init__()
        check_positive("DeformableConv", dim=dim, kernel_size=kernel_size, dilation=dilation)
        if kernel_size % 2 == 0:
            raise ValueError(f"DeformableConv: kernel_size must be odd to keep the size; got {kernel_size}")
        self.dim = dim
        self.kernel_size = kernel_size
        self.dilation = dilation
        taps = kernel_size**2
        self.conv = nn.Conv2d(dim, dim, kernel_size, bias=bias)  # the kernel; the sampling is done here, not by it
        self.offset = nn.Conv2d(dim, 2 * taps, 3, padding=1)
        self.modulation = nn.Conv2d(dim, taps, 3, padding=1) if modulated else None
        self.gate = nn.Sigmoid()
        for layer in filter(None, (self.offset, self.modulation)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def points(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The rows and the columns, (B, H, W, P) each, at which the P taps of every pixel read the image."""
        height, width = x.shape[2:]
        offset = self.offset(x).permute(0, 2, 3, 1)  # (B, H, W, 2P)
        # Positions need more digits than bfloat16 has.
        row_offset, column_offset = offset.to(torch.promote_types(offset.dtype, torch.float32)).chunk(2, 3)
        steps = self.dilation * (torch.arange(self.kernel_size, device=x.device) - self.kernel_size // 2)
        tap_rows, tap_columns = torch.meshgrid(steps, steps, indexing="ij")  # (k, k) each
        rows = torch.arange(height, device=x.device)[:, None, None] + tap_rows.flatten()  # (H, 1, P)
        columns = torch.arange(width, device=x.device)[:, None] + tap_columns.flatten()  # (W, P)
        return rows + row_offset, columns + column_offset

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        check_image(x, self.dim, "DeformableConv")
        height, width = x.shape[2:]
        strength = 1.0
        if self.modulation is not None:
            strength = self.gate(self.modulation(x)).permute(0, 2, 3, 1)  # (B, H, W, P)
        index, weight = bilinear(*self.points(x), height, width, strength)  # (B, H, W, P, 4) each
        samples = weighted_sums(zero_border(x).flatten(1, 2), index.flatten(1, 3), weight.flatten(1, 3))  # (B, HWP, C)
        samples = samples.unflatten(1, (height, width, -1)).flatten(3)  # (B, H, W, PC)
        kernel = self.conv.weight.permute(0, 2, 3, 1).flatten(1)  # (C, PC)
        return F.linear(samples, kernel, self.conv.bias).permute(0, 3, 1, 2)


BLOCKS = {"deformable_conv": DeformableConv, "deformable_conv_v1": partial(DeformableConv, modulated=False)}
REFERENCES = {"deformable_conv": ("recorded:deformable_conv",), "deformable_conv_v1": ("recorded:deformable_conv.v1",)}
