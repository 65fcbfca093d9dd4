"""Selective kernel: several kernel sizes at once, and for each channel a choice between them.

Paper: li2019selective, section 3.1. How large an object is differs from image to image, the kernel of a convolution
does not. SK runs M convolutions that differ in their reach (split), looks at the mean of their sum (fuse), and lets it
decide for every channel how much of each branch to take (select):

    U_m = relu(BN(conv_m x)),  m = 1..M                     3x3, dilation m: a field of 2m + 1, in G groups
    z   = relu(BN(W mean over pixels of sum over m of U_m))  eq. 1 to 3,  W: d x C,  d = max(C/r, L)
    a_m = softmax over m of (A_m z)                          eq. 5,  A_m: C x d
    y   = sum over m of a_m U_m                              eq. 6

With one branch the softmax has nothing to choose and SK is a convolution.

Cost: M (9 C^2/G + 2 C) + (M + 1) C d + 2 d parameters; 9 M C^2/G HW multiply-adds for the branches and M BCHW for the
selection.
Growth: N^1

Where this differs: nothing from the official (Caffe) networks, whose branches are 3x3 convolutions in 32 groups, the
second dilated in the place of a 5x5. In training their BatchNorm of z cannot take a single image; here that image is
normalised with the running statistics. A widely copied version has dense 1x1, 3x3, 5x5 and 7x7 branches, 40 times the
parameters, and neither BatchNorm nor ReLU on z. Another library's version divides the input channels among the
branches by default.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import ConvNormAct, PooledBatchNorm, check_image, check_positive

PAPER = "li2019selective"
CHAPTER = "05_how_big"


class SelectiveKernel(nn.Module):
    """Convolutions of different reach, and in every channel a softmax over them.

    Args:
        dim: channels C; a multiple of ``groups``.
        branches: M; branch m = 1..M is a 3 x 3 convolution of dilation m.
        groups: G of the convolutions.
        reduction: r; the summary z has max(C // r, L) units.
        min_hidden: L, the least number of units of z.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). In training B·H·W must be greater than 1, for the BatchNorm of the branches.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``dim`` is not a multiple
            of ``groups``.
    """

    def __init__(self, dim: int, branches: int = 2, groups: int = 32, reduction: int = 16, min_hidden: int = 32):
        super().__init__()
        check_positive(
            "SelectiveKernel", dim=dim, branches=branches, groups=groups, reduction=reduction, min_hidden=min_hidden
        )
        if dim % groups:
            raise ValueError(
                f"SelectiveKernel: dim must be a multiple of groups={groups}; got dim={dim}: use groups={_divisor(dim)}"
            )
        hidden = max(dim // reduction, min_hidden)
        self.dim, self.branches = dim, branches
        self.split = nn.ModuleList(ConvNormAct(dim, dim, 3, groups=groups, dilation=m + 1) for m in range(branches))
        self.fuse = nn.Sequential(nn.Conv2d(dim, hidden, 1, bias=False), PooledBatchNorm(hidden), nn.ReLU())
        self.select = nn.Conv2d(hidden, branches * dim, 1, bias=False)
        self.gate = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the branches of (B, C, H, W) by a gate (B, M, C, 1, 1)."""
        check_image(x, self.dim, "SelectiveKernel")
        maps = [branch(x) for branch in self.split]  # M of (B, C, H, W)
        # The mean of the sum is the sum of the means: the sum itself is never made.
        z = self.fuse(sum(u.mean((2, 3), keepdim=True) for u in maps))  # (B, d, 1, 1)
        a = self.gate(self.select(z).unflatten(1, (self.branches, self.dim)))  # (B, M, C, 1, 1)
        y = maps[0] * a[:, 0]
        for m in range(1, self.branches):
            y = torch.addcmul(y, maps[m], a[:, m])
        return y


def _divisor(dim: int) -> int:
    """The greatest number of groups, at most 32, that divides ``dim``."""
    return next(groups for groups in range(32, 0, -1) if dim % groups == 0)


BLOCKS = {"selective_kernel": SelectiveKernel}
REFERENCES = {"selective_kernel": ("recorded:selective_kernel", "timm:layers.SelectiveKernel")}
