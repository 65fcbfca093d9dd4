"""CBAM: decide which channel, then decide where.

Paper: woo2018cbam, section 3. Squeeze-and-Excitation says *what* to listen to; CBAM adds *where* to look, and gives
both decisions a second summary beside the mean: the maximum, which notices a single strong pixel.

    M_c = sigmoid(MLP(mean over pixels) + MLP(max over pixels))         eq. 2,  one MLP for both: C -> C/r -> C
    M_s = sigmoid(conv_kxk([max over channels; mean over channels]))    eq. 3,  k = 7
    y   = M_s * (M_c * x)                                               eq. 1

Cost: 2 C^2/r + C/r + C + 2 k^2 + 2 parameters; 4 C^2/r + 2 k^2 HW multiply-adds for the gates, 2 BCHW for the
scaling.

Growth: N^1 with the number of pixels N = HW.

Where this differs: the official code has biases in the MLP, a BatchNorm behind the k x k convolution (the paper
mentions none), and stacks the two planes as (max, mean), where eq. 3 writes (mean, max). Those are the default here.
Widely copied versions drop the biases and the BatchNorm and turn the planes round, so official weights do not fit them.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "woo2018cbam"
CHAPTER = "02_se_cbam_coordatt"


class ChannelGate(nn.Module):
    """Channel gate from the mean and the maximum of every channel.

    Args:
        dim: channels C.
        reduction: r; the shared MLP has max(1, C // r) hidden units.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, reduction: int = 16):
        super().__init__()
        hidden = max(1, dim // reduction)
        self.mlp = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, dim, 1))
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (B, C, H, W) by a gate (B, C, 1, 1)."""
        mean = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        peak = x.amax((2, 3), keepdim=True)  # (B, C, 1, 1)
        return x * self.gate(self.mlp(mean) + self.mlp(peak))


class SpatialGate(nn.Module):
    """Pixel gate from the maximum and the mean over the channels.

    Args:
        kernel_size: k, side of the convolution that compares a pixel with its surroundings; odd.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, kernel_size: int = 7):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"SpatialGate: kernel_size must be odd to keep the size; got {kernel_size}")
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=0.01)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale the pixels of (B, C, H, W) by a gate (B, 1, H, W)."""
        planes = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)  # (B, 2, H, W)
        return x * self.gate(self.norm(self.conv(planes)))


class CBAM(nn.Module):
    """Channel gate, then spatial gate.

    Args:
        dim: channels C.
        reduction: r of the channel gate.
        kernel_size: k of the spatial gate; odd.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). In training B·H·W must be greater than 1, for the BatchNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``reduction`` is not positive;
            ``kernel_size`` is even.
    """

    def __init__(self, dim: int, reduction: int = 16, kernel_size: int = 7):
        super().__init__()
        check_positive("CBAM", dim=dim, reduction=reduction, kernel_size=kernel_size)
        self.dim = dim
        self.channel = ChannelGate(dim, reduction)
        self.spatial = SpatialGate(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Gate (B, C, H, W) by channel, then by pixel."""
        check_image(x, self.dim, "CBAM")
        return self.spatial(self.channel(x))


BLOCKS = {"cbam": CBAM}
REFERENCES = {"cbam": ("recorded:cbam",)}
