"""Partial convolution: convolve a quarter of the channels, and hand the others on as they are.

Paper: chen2023run, section 3.2 (PConv of FasterNet). A depthwise convolution has few multiply-adds, but each number
that it fetches from memory is used only a few times: the processor waits. A dense convolution on a few of the channels
does more arithmetic for each number fetched, and leaves most of the numbers alone:

    y = [conv_3x3(x_1 .. x_c); x_c+1 .. x_C],   c = C / n,  n = 4

The channels are mixed by the 1 x 1 convolutions that follow in the network. What the paper raises is FLOPS, floating-
point operations *per second*; the FLOPs, their number, are not the goal.

Cost: 9 C^2/n^2 parameters and 9 C^2/n^2 HW multiply-adds, 1/16 of the dense convolution's for n = 4; 2 C/n HW numbers
that must be read and written, where a depthwise convolution has 2 C HW.
Growth: N^1

Where this differs: nothing in the result. The official code has a second form that writes into a copy of its
input; without the copy it would destroy what a residual connection still needs. The authors' n is 4; the demo of a
popular collection has 2, which costs four times as much.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "chen2023run"
CHAPTER = "09_kernels_that_look_elsewhere"


class PartialConv(nn.Module):
    """A 3 x 3 convolution of the first ``dim // n_div`` channels; the others pass.

    Args:
        dim: channels C.
        n_div: n, the fraction of the channels that is convolved is 1/n, rounded down.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``n_div`` is not positive, or no channel is
            left to convolve.
    """

    def __init__(self, dim: int, n_div: int = 4):
        super().__init__()
        check_positive("PartialConv", dim=dim, n_div=n_div)
        if dim < n_div:
            raise ValueError(f"PartialConv: dim must be at least n_div, {n_div}, to convolve a channel; got {dim}")
        self.dim = dim
        self.convolved = dim // n_div
        self.conv = nn.Conv2d(self.convolved, self.convolved, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        check_image(x, self.dim, "PartialConv")
        few, others = x.split([self.convolved, self.dim - self.convolved], 1)  # (B, C / n, H, W) and the rest
        return torch.cat([self.conv(few), others], 1)


BLOCKS = {"partial_conv": PartialConv}
REFERENCES = {"partial_conv": ("recorded:partial_conv",)}
