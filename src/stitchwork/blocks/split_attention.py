"""Split attention: feature groups that each see a part of the channels, and a softmax between them.

Paper: zhang2022resnest, section 3.1. ResNeXt splits the channels into K cardinal groups; ResNeSt splits each of these
into R more, computes all as one grouped convolution, and lets the mean of their sum choose among the R, channel by
channel. It is selective kernels with branches that differ in their input instead of their reach:

    U_1 .. U_R = relu(BN(conv x))                       3x3 in K R groups, C -> R C
    z   = relu(BN(W1 mean over pixels of sum of U_r))   C -> d = max(C R/4, 32), in K groups
    a_r = softmax over r of (W2 z)_r                    d -> R C in K groups;  for R = 1 a sigmoid
    y   = sum over r of a_r U_r

Cost: 9 C^2/K + 2 R C for the convolution, (1 + R) C d/K + 3 d + R C for the attention, in parameters; (9 C^2/K) HW
multiply-adds for the convolution whatever R is, and R BCHW for the sum.
Growth: N^1

Where this differs: nothing from the official code. As there, W1 has a bias, which the BatchNorm behind it subtracts
again, so that training never moves it. In training that BatchNorm cannot take a single image in the official code; here
the image is normalised with the running statistics. In a much-used library the layer has no BatchNorm at all unless one
is passed.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import ConvNormAct, PooledBatchNorm, check_image, check_positive

PAPER = "zhang2022resnest"
CHAPTER = "05_how_big"


class SplitAttention(nn.Module):
    """A grouped convolution with R outputs for each channel, and a softmax over them.

    Args:
        dim: channels C; a multiple of ``groups`` times ``radix``.
        radix: R, splits of each cardinal group; with 1 the gate is a sigmoid.
        groups: K, cardinal groups.
        kernel_size: side of the convolution; odd.
        reduction: the hidden layer of the attention has max(C R // reduction, 32) units.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). In training B·H·W must be greater than 1, for the BatchNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``kernel_size`` is even;
            ``dim`` or the number of hidden units cannot be divided into the groups.
    """

    def __init__(self, dim: int, radix: int = 2, groups: int = 1, kernel_size: int = 3, reduction: int = 4):
        super().__init__()
        check_positive(
            "SplitAttention", dim=dim, radix=radix, groups=groups, kernel_size=kernel_size, reduction=reduction
        )
        if kernel_size % 2 == 0:
            raise ValueError(f"SplitAttention: kernel_size must be odd to keep the size; got {kernel_size}")
        if dim % (groups * radix):
            raise ValueError(
                f"SplitAttention: dim must be a multiple of groups * radix = {groups * radix}; got dim={dim}: "
                "use fewer groups or a smaller radix"
            )
        hidden = max(dim * radix // reduction, 32)
        if hidden % groups:
            raise ValueError(
                f"SplitAttention: the {hidden} hidden units, from reduction={reduction}, must be a multiple of "
                f"groups={groups}: use another reduction"
            )
        self.dim, self.radix, self.groups = dim, radix, groups
        self.split = ConvNormAct(dim, radix * dim, kernel_size, groups=groups * radix)
        self.fuse = nn.Sequential(nn.Conv2d(dim, hidden, 1, groups=groups), PooledBatchNorm(hidden), nn.ReLU())
        self.select = nn.Conv2d(hidden, radix * dim, 1, groups=groups)
        self.gate = nn.Softmax(dim=1) if radix > 1 else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Mix the R splits of (B, C, H, W) by a gate (B, R, C, 1, 1)."""
        check_image(x, self.dim, "SplitAttention")
        u = self.split(x)  # (B, R C, H, W), split by split
        # The mean of the sum is the sum of the means: the sum itself is never made.
        z = u.mean((2, 3)).unflatten(1, (self.radix, self.dim)).sum(1)  # (B, C)
        logits = self.select(self.fuse(z[..., None, None]))  # (B, K R C/K, 1, 1), group by group
        logits = logits.unflatten(1, (self.groups, self.radix, -1)).transpose(1, 2)  # (B, R, K, C/K, 1, 1)
        a = self.gate(logits.flatten(2, 3))  # (B, R, C, 1, 1)
        splits = u.chunk(self.radix, 1)  # R of (B, C, H, W)
        y = splits[0] * a[:, 0]
        for r in range(1, self.radix):
            y = torch.addcmul(y, splits[r], a[:, r])
        return y


BLOCKS = {"split_attention": SplitAttention}
REFERENCES = {"split_attention": ("recorded:split_attention", "timm:layers.SplitAttn")}
