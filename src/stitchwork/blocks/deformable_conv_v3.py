"""Deformable convolution v3: moving taps in groups, without a kernel, like attention that looks at nine points.

Paper: wang2023internimage, section 3.1. Version 2 has a C x C matrix for each tap. Version 3 shares one between all
taps (the projection behind them), lets each of G groups of channels choose points of its own, and turns the factors of
the taps into a distribution. What remains is a weighted mean of a few points, as in attention, with weights that depend
on the query alone:

    y_g(p) = sum over k of  m_gk(p)  v_g(p + k + offset_gk(p)),    m_g = softmax over k         eq. 2
    v = W_v x,    offset, m = linear(GELU(LN(depthwise_3x3(x)))),    output W_o [y_1 .. y_G]

Cost, with P = k^2 taps: 2 C (C + 1) + 3 P G (C + 1) + (P + 3) C parameters (the depthwise convolution has the k of the
taps); as many multiply-adds a pixel, and 4 P C for the sampling.
Growth: N^1

Where this differs: as in the official code, the taps are numbered down the columns, the offset of each is (column,
row), and ``offset_scale`` stretches the grid of the taps together with the offsets. The projected image is padded with
zeros, not with the bias of the projection. A popular collection describes this version beside the code of versions 1
and 2.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import bilinear, check_image, check_multiple, check_positive, weighted_sums, zero_border

PAPER = "wang2023internimage"
CHAPTER = "09_kernels_that_look_elsewhere"


class DeformableConvV3(nn.Module):
    """For every pixel and group of channels a weighted mean over k x k points that move.

    Args:
        dim: channels C, a multiple of ``groups``.
        groups: G, groups of channels with points of their own.
        kernel_size: k; odd.
        offset_scale: factor of the offsets and of the grid that they start from.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``kernel_size`` is even;
            ``dim`` is no multiple of ``groups``.
    """

    def __init__(self, dim: int, groups: int = 4, kernel_size: int = 3, offset_scale: float = 1.0):
        super().__init__()
        check_positive("DeformableConvV3", dim=dim, groups=groups, kernel_size=kernel_size, offset_scale=offset_scale)
        if kernel_size % 2 == 0:
            raise ValueError(f"DeformableConvV3: kernel_size must be odd to keep the size; got {kernel_size}")
        check_multiple("DeformableConvV3", dim, groups=groups)
        self.dim = dim
        self.groups = groups
        self.kernel_size = kernel_size
        self.offset_scale = offset_scale
        points = groups * kernel_size**2
        self.value = nn.Linear(dim, dim)
        self.depthwise = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.act = nn.GELU()
        self.offset = nn.Linear(dim, 2 * points)
        self.modulation = nn.Linear(dim, points)
        self.gate = nn.Softmax(dim=-1)
        self.project = nn.Linear(dim, dim)
        for layer in (self.value, self.project):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.offset, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def points(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """The rows and the columns, (B, H, W, G, P) each, of the points of the queries (B, H, W, C)."""
        height, width = query.shape[1:3]
        offset = self.offset(query).unflatten(3, (self.groups, -1, 2))  # (B, H, W, G, P, 2)
        # Positions need more digits than bfloat16 has.
        column_offset, row_offset = offset.to(torch.promote_types(offset.dtype, torch.float32)).unbind(5)
        steps = torch.arange(self.kernel_size, device=query.device) - self.kernel_size // 2
        tap_columns, tap_rows = torch.meshgrid(steps, steps, indexing="ij")  # (k, k) each, rows the faster
        rows = torch.arange(height, device=query.device)[:, None, None, None]
        columns = torch.arange(width, device=query.device)[:, None, None]
        return (
            rows + self.offset_scale * (tap_rows.flatten() + row_offset),
            columns + self.offset_scale * (tap_columns.flatten() + column_offset),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        check_image(x, self.dim, "DeformableConvV3")
        height, width = x.shape[2:]
        query = self.act(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))  # (B, H, W, C)
        strength = self.gate(self.modulation(query).unflatten(3, (self.groups, -1)))  # (B, H, W, G, P)
        index, weight = bilinear(*self.points(query), height, width, strength)  # (B, H, W, G, P, 4) each

        # The groups of a pixel lie one after the other: group g of pixel i is row i G + g.
        value = zero_border(self.value(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))  # (B, H + 2, W + 2, C)
        value = value.unflatten(3, (self.groups, -1)).flatten(1, 3)  # (B, (H + 2)(W + 2)G, C / G)
        group = torch.arange(self.groups, device=x.device, dtype=torch.int32)
        index = index * self.groups + group[:, None, None]
        # All the corners of all the taps are one sum.
        mean = weighted_sums(value, index.flatten(4).flatten(1, 3), weight.flatten(4).flatten(1, 3))  # (B, HWG, C / G)
        return self.project(mean.reshape(-1, height, width, self.dim)).permute(0, 3, 1, 2)


BLOCKS = {"deformable_conv_v3": DeformableConvV3}
REFERENCES = {"deformable_conv_v3": ("recorded:deformable_conv.v3",)}
