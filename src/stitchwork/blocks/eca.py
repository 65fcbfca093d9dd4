"""ECA: a channel needs only its neighbours to decide how loud it is.

Paper: wang2020eca, section 3.2. Squeeze-and-Excitation squeezes the C channel means through a bottleneck, which costs
2 C^2/r parameters and forgets which mean was whose. ECA keeps every mean and lets a convolution slide over the channel
axis, one kernel of k numbers for all channels:

    z = mean of every channel over its pixels
    s = sigmoid(conv1d_k(z)),   k = the odd number nearest to (log2 C + b) / gamma,   gamma = 2,  b = 1
    y_c = s_c x_c

Channels have no order of their own; the layer in front learns one, such that neighbours have something to say to each
other. At the two ends of the axis the missing neighbours count as zero.

Cost: k parameters, k C multiply-adds for the gate and BCHW for the scaling. k is 3 at 64 channels, 5 at 128 to 1024,
7 at 2048.

Growth: N^1

Where this differs: the paper chooses k by the formula; the official code takes it as an argument, by default 3, and its
published networks set one by hand for each stage (3, 5, 5, 7 in ECA-ResNet50). The default here is the formula, and
``kernel_size`` overrides it. timm has the formula with a floor of 3, which differs below 8 channels. Popular copies fix
k = 3 whatever C is, and leave the convolution its bias, which the official code has not.
"""

import math

from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "wang2020eca"
CHAPTER = "03_which_channel"


def adaptive_kernel_size(dim: int, gamma: float = 2, b: float = 1) -> int:
    """The odd number nearest to (log2(dim) + b) / gamma; halfway it is the larger one.

    >>> [adaptive_kernel_size(dim) for dim in (1, 8, 64, 256, 2048)]
    [1, 3, 3, 5, 7]
    """
    below = int((math.log2(dim) + b) / gamma)
    return below if below % 2 else below + 1


class EfficientChannelAttention(nn.Module):
    """Channel gate computed from the means of the k neighbouring channels.

    Args:
        dim: channels C.
        kernel_size: k, how many neighbours, itself included, decide on a channel; odd. Without it the number that
            the paper's formula gives for C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``kernel_size`` is not positive;
            ``kernel_size`` is even.
    """

    def __init__(self, dim: int, kernel_size: int | None = None):
        super().__init__()
        check_positive("EfficientChannelAttention", dim=dim)
        if kernel_size is None:
            kernel_size = adaptive_kernel_size(dim)
        check_positive("EfficientChannelAttention", kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(
                "EfficientChannelAttention: kernel_size must be odd, or a channel has more neighbours on one side "
                f"than on the other; got {kernel_size}"
            )
        self.dim = dim
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (B, C, H, W) by a gate (B, C)."""
        check_image(x, self.dim, "EfficientChannelAttention")
        z = x.mean((2, 3))[:, None]  # (B, 1, C): the channels are the axis that the convolution runs along
        s = self.gate(self.conv(z))[:, 0]  # (B, C)
        return x * s[..., None, None]


BLOCKS = {"eca": EfficientChannelAttention}
REFERENCES = {"eca": ("recorded:eca", "timm:layers.EcaModule")}
