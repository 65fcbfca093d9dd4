"""Pyramid squeeze attention: four kernel sizes with a quarter of the channels each, weighed against one another.

Paper: zhang2022epsanet, section 3.2. Every branch sees all channels and gives a quarter of them, the larger its kernel
the more groups it has, so that a 9x9 costs less than the 3x3. One small SE gate, shared by the branches, sums up each
of them, and a softmax makes them compete, channel by channel:

    F_i = conv_i x,  i = 1..4                k_i = 3, 5, 7, 9 in g_i = 1, 4, 8, 16 groups, C -> C/4
    s_i = sigmoid(W1 relu(W0 mean of F_i))   C/4 -> C/64 -> C/4, the same for all i
    a_i = softmax over i of s_i
    y   = [a_4 F_4; a_3 F_3; a_2 F_2; a_1 F_1]

Cost, with m = max(1, C/64): sum over i of k_i^2 C^2 / (4 g_i), and C m/2 + m + C/4 for the gate, in parameters; the
first sum times HW in multiply-adds, and BCHW for the weighting.
Growth: N^1

Where this differs: the official code concatenates the branches in the reverse of the paper's order, the 9x9 first, and
that is done here. The softmax gets the output of a sigmoid, in the paper and in the code: its logits lie between 0 and
1, so that none of four branches ever weighs less than 1 / (1 + 3e) = 0.109 or more than e / (e + 3) = 0.475. To lift
that limit, put ``nn.Identity()`` in the place of ``squash``. A widely copied version adds the four branches up in the
place of concatenating them, so that a quarter of the channels comes out; it gives each branch a quarter of the input
and an SE of its own, and writes into its input.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "zhang2022epsanet"
CHAPTER = "05_how_big"


class GroupConv(nn.Conv2d):
    """A grouped convolution; where its groups are narrow, as a sum of depthwise ones.

    An output is the sum, over the inputs of its group, of depthwise convolutions: the same arithmetic in another order.
    With one or two outputs a group that is several times faster on a CPU, for which there is good code for large
    depthwise kernels, and none for narrow groups.

    Args:
        in_dim: channels in.
        out_dim: channels out.
        kernel_size: side of the kernel; odd.
        groups: number of groups.

    Shapes:
        (B, in_dim, H, W) -> (B, out_dim, H, W)
    """

    def __init__(self, in_dim: int, out_dim: int, kernel_size: int, groups: int):
        super().__init__(in_dim, out_dim, kernel_size, padding=kernel_size // 2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_dim, H, W) -> (B, out_dim, H, W)."""
        weight = self.weight.unflatten(0, (self.groups, -1))  # (g, outputs, inputs, k, k)
        if weight.shape[1] > 2:
            return super().forward(x)
        outputs = []
        for kernels in weight.unbind(1):  # (g, inputs, k, k)
            y = F.conv2d(x, kernels.flatten(0, 1)[:, None], padding=self.padding, groups=self.in_channels)
            outputs.append(y.unflatten(1, (self.groups, -1)).sum(2))  # (B, g, H, W)
        return torch.stack(outputs, 2).flatten(1, 2)  # (B, out_dim, H, W)


class PyramidSqueezeAttention(nn.Module):
    """Branches of different kernel size, and in every channel a softmax over them.

    Args:
        dim: channels C. Each of the S branches gives C / S of them, which must be a multiple of its groups.
        kernel_sizes: k_i of the S branches; odd.
        groups: g_i of the branches, as many.
        reduction: the shared gate has max(1, C // (S * reduction)) hidden units.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` cannot be divided into the branches and their
            groups; an argument is not positive; a kernel size is even; there are not as many groups as kernels.
    """

    def __init__(
        self,
        dim: int,
        kernel_sizes: Sequence[int] = (3, 5, 7, 9),
        groups: Sequence[int] = (1, 4, 8, 16),
        reduction: int = 16,
    ):
        super().__init__()
        check_positive("PyramidSqueezeAttention", dim=dim, reduction=reduction)
        if len(kernel_sizes) != len(groups) or not groups or min(groups) < 1:
            raise ValueError(
                "PyramidSqueezeAttention: groups must be one positive number for each of the kernel_sizes="
                f"{tuple(kernel_sizes)}; got {tuple(groups)}"
            )
        if any(k < 1 or k % 2 == 0 for k in kernel_sizes):
            raise ValueError(
                f"PyramidSqueezeAttention: kernel_sizes must be odd to keep the size; got {tuple(kernel_sizes)}"
            )
        self.dim, branches = dim, len(kernel_sizes)
        part = dim // branches
        if dim % branches or any(part % g for g in groups):
            raise ValueError(
                f"PyramidSqueezeAttention: dim / {branches} must be a whole number and a multiple of each of "
                f"groups={tuple(groups)}; got dim={dim}: use another dim, or other groups"
            )
        hidden = max(1, part // reduction)
        self.convs = nn.ModuleList(GroupConv(dim, part, k, g) for k, g in zip(kernel_sizes, groups))
        self.squeeze = nn.Linear(part, hidden)
        self.act = nn.ReLU()
        self.excite = nn.Linear(hidden, part)
        self.squash = nn.Sigmoid()
        self.gate = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the branches of (B, C, H, W) by a gate (B, S, C / S)."""
        check_image(x, self.dim, "PyramidSqueezeAttention")
        # The last branch first: the softmax does not mind, and the output comes in the official order.
        maps = [conv(x) for conv in reversed(self.convs)]  # S of (B, C/S, H, W)
        z = torch.stack([f.mean((2, 3)) for f in maps], 1)  # (B, S, C/S)
        s = self.squash(self.excite(self.act(self.squeeze(z))))  # (B, S, C/S)
        a = self.gate(s)  # (B, S, C/S)
        return torch.cat(maps, 1) * a.flatten(1)[..., None, None]


BLOCKS = {"psa": PyramidSqueezeAttention}
REFERENCES = {"psa": ("recorded:psa",)}
