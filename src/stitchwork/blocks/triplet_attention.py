"""Triplet attention: look at the feature map from three sides.

Paper: misra2021rotate, section 3. CBAM pools the channels away to find out where, and the pixels away to find out what;
which channel goes with which row it never sees. Triplet attention takes the same small gate three times, and pools away
another axis each time, so that a gate lies on each of the three planes of the C x H x W box:

    Z_a   = [max over a; mean over a]                       Z-pool over one of the axes a = H, W, C
    g_a   = sigmoid(BN(conv_7x7(Z_a)))                      on the planes C x W, H x C and H x W
    y     = (g_H + g_W + g_C) x / 3

Nothing is squeezed through a bottleneck; the convolution does treat channels as if they had an order.

Cost: 3 (2 k^2 + 2) = 300 parameters; 2 k^2 (CW + HC + HW) multiply-adds for the gates and BCHW for the scaling.

Growth: N^1

Where this differs: nothing in the result. The official code turns the image round and copies it, gates it, and turns it
back; here the pooled planes are turned, which are smaller, and the image is multiplied once.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "misra2021rotate"
CHAPTER = "04_where_as_well_as_what"


def z_pool(x: Tensor, axis: int) -> Tensor:
    """Maximum and mean over one axis of (B, C, H, W), as two planes: (B, 2, ., .)."""
    return torch.stack([x.amax(axis), x.mean(axis)], 1)


class PlaneGate(nn.Module):
    """Gate on a plane, from its two pooled values in the surroundings of each place.

    Args:
        kernel_size: k, side of the convolution; odd.

    Shapes:
        (B, 2, P, Q) -> (B, 1, P, Q)
    """

    def __init__(self, kernel_size: int = 7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=0.01)
        self.gate = nn.Sigmoid()

    def forward(self, planes: Tensor) -> Tensor:
        """Numbers in (0, 1) for the places of (B, 2, P, Q)."""
        return self.gate(self.norm(self.conv(planes)))


class TripletAttention(nn.Module):
    """The mean of three gates, one on each plane of the C x H x W box.

    Args:
        dim: channels C; only checked, for no parameter depends on it.
        no_spatial: leave out the gate on the plane H x W; the mean is then of two.
        kernel_size: k of the three convolutions; odd.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). In training B·H·W must be greater than 1, for the BatchNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``kernel_size`` is not positive;
            ``kernel_size`` is even.
    """

    def __init__(self, dim: int, no_spatial: bool = False, kernel_size: int = 7):
        super().__init__()
        check_positive("TripletAttention", dim=dim, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"TripletAttention: kernel_size must be odd to keep the size; got {kernel_size}")
        self.dim = dim
        self.cw = PlaneGate(kernel_size)
        self.hc = PlaneGate(kernel_size)
        self.hw = None if no_spatial else PlaneGate(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Scale (B, C, H, W) by the mean of the gates."""
        check_image(x, self.dim, "TripletAttention")
        gates = [
            self.cw(z_pool(x, 2)).transpose(1, 2),  # (B, 1, C, W) -> (B, C, 1, W)
            self.hc(z_pool(x, 3).transpose(2, 3)).permute(0, 3, 2, 1),  # (B, 1, H, C) -> (B, C, H, 1)
        ]
        if self.hw is not None:
            gates.append(self.hw(z_pool(x, 1)))  # (B, 1, H, W)
        return x * sum(gate / len(gates) for gate in gates)


BLOCKS = {"triplet_attention": TripletAttention}
REFERENCES = {"triplet_attention": ("recorded:triplet_attention",)}
