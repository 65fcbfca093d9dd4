"""Dynamic snake convolution: a line of taps that bends, but does not break.

Paper: qi2023dynamic, section 3.1. The taps of a deformable convolution may go anywhere, and lose a thin tube.
A snake's K taps lie one pixel apart along one axis; across it each is at most one pixel beside its neighbour, because
what is learned is the step from tap to tap, and the steps add up from the centre outwards:

    step = tanh(GN(conv_3x3(x))),  one for each tap;   o_0 = 0,   o_c = o_c-1 + step_c,   o_-c = o_-c+1 + step_-c
    y(i, j) = relu(GN(sum over c of w_c x(i + o_c(i, j), j + c)))                            eq. 3, along x

Along y rows and columns change places (eq. 4). The coordinate along the snake is whole, so that a point lies between
two pixels, not four.

Cost, with K taps: 2 K C^2 + 18 K C + 4 C + 6 K parameters, of which one kernel and half of the offsets lie idle (see
below); K C^2 + 18 K C multiply-adds a pixel, and 2 K C for the interpolation.
Growth: N^1

Where this differs: as in the corrected official code, a module holds the kernels of both axes and 2 K offset channels,
whichever axis it follows, so the other kernel never learns; points outside the image read its edge; the steps are
normalised in pairs of channels, so that even the idle step of the centre has an influence. The corrected code divides
by zero on an image of one row or column, which works here. The first version, still the one that is copied, reads the
first image of the batch for all images, does not add up the steps of the two end taps, and normalises the steps over
the batch. The paper's network joins snakes along x and y with a plain convolution; this is one snake.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import between, check_image, check_positive, weighted_sums, zero_border

PAPER = "qi2023dynamic"
CHAPTER = "09_kernels_that_look_elsewhere"


class DynamicSnakeConv(nn.Module):
    """A K x 1 convolution along a curve that every pixel draws for itself.

    Args:
        dim: channels C, a multiple of 4 (the output is normalised in groups of four).
        kernel_size: K, taps of the snake; odd.
        extend_scope: furthest step across the axis from one tap to the next, in pixels.
        along: the axis that the snake follows, ``"x"`` (a row) or ``"y"`` (a column).

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``kernel_size`` is even;
            ``dim`` is no multiple of 4; ``along`` is no axis.
    """

    def __init__(self, dim: int, kernel_size: int = 9, extend_scope: float = 1.0, along: str = "x"):
        super().__init__()
        check_positive("DynamicSnakeConv", dim=dim, kernel_size=kernel_size, extend_scope=extend_scope)
        if kernel_size % 2 == 0:
            raise ValueError(f"DynamicSnakeConv: kernel_size must be odd to have a centre; got {kernel_size}")
        if dim % 4:
            raise ValueError(f"DynamicSnakeConv: dim must be a multiple of 4; got {dim}")
        if along not in ("x", "y"):
            raise ValueError(f"DynamicSnakeConv: along must be 'x' or 'y'; got {along!r}")
        self.dim = dim
        self.kernel_size = kernel_size
        self.extend_scope = extend_scope
        self.along = along
        self.offset = nn.Conv2d(dim, 2 * kernel_size, 3, padding=1)
        self.offset_norm = nn.GroupNorm(kernel_size, 2 * kernel_size)
        self.act_offset = nn.Tanh()
        self.conv_x = nn.Conv2d(dim, dim, (kernel_size, 1))  # the kernels; the sampling is done here, not by them
        self.conv_y = nn.Conv2d(dim, dim, (1, kernel_size))
        self.norm = nn.GroupNorm(dim // 4, dim)
        self.act = nn.ReLU()

    def bends(self, x: Tensor) -> Tensor:
        """How far each of the K taps is moved across the axis, in pixels, (B, K, H, W); the middle one is not."""
        steps = self.act_offset(self.offset_norm(self.offset(x)))  # (B, 2K, H, W)
        steps = steps.to(
            torch.promote_types(steps.dtype, torch.float32)
        )  # positions need more digits than bfloat16 has
        steps = steps.chunk(2, 1)[0 if self.along == "x" else 1]  # (B, K, H, W)
        centre = self.kernel_size // 2
        before = steps[:, :centre].flip(1).cumsum(1).flip(1)
        after = steps[:, centre + 1 :].cumsum(1)
        return self.extend_scope * torch.cat([before, torch.zeros_like(steps[:, :1]), after], 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        check_image(x, self.dim, "DynamicSnakeConv")
        bends = self.bends(x)
        if self.along == "y":  # a snake along x of the image with rows and columns exchanged
            x, bends = x.mT, bends.mT
        height, width = x.shape[2:]
        rows = torch.arange(height, device=x.device)[:, None, None] + bends.permute(0, 2, 3, 1)  # (B, H, W, K)
        taps = torch.arange(self.kernel_size, device=x.device, dtype=torch.int32) - self.kernel_size // 2
        columns = (torch.arange(width, device=x.device, dtype=torch.int32)[:, None] + taps).clamp(
            0, width - 1
        )  # (W, K)

        row, share = between(rows.clamp(0, height - 1), height)  # (B, H, W, K) each
        first = row * (width + 2) + columns + 1  # counted with the border
        index, weight = torch.stack([first, first + (width + 2)], -1), torch.stack([1 - share, share], -1)
        samples = weighted_sums(zero_border(x).flatten(1, 2), index.flatten(1, 3), weight.flatten(1, 3))  # (B, HWK, C)
        samples = samples.unflatten(1, (height, width, -1)).flatten(3)  # (B, H, W, KC)
        y = F.linear(samples, *self.kernel()).permute(0, 3, 1, 2)
        return self.act(self.norm(y.mT if self.along == "y" else y))

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Weight (C, KC) and bias (C,) of the axis that the snake follows."""
        # Taken out of both, so that the other gets a gradient of zero; on one without any, distributed training stops.
        weight = torch.stack([self.conv_x.weight.flatten(2), self.conv_y.weight.flatten(2)])  # (2, C, C, K)
        bias = torch.stack([self.conv_x.bias, self.conv_y.bias])  # (2, C)
        axis = 0 if self.along == "x" else 1
        return weight[axis].transpose(1, 2).flatten(1), bias[axis]


BLOCKS = {"snake_conv": DynamicSnakeConv}
REFERENCES = {"snake_conv": ("recorded:snake_conv",)}
