"""RepNeXt: kernels of four scales, each on a quarter of the channels, and what is trained as many is used as one.

Paper: zhao2024repnext, section 3. A block cuts the channels into four: one quarter passes, one sees 3x3, one
7x7, one 11x11 through a row and a column. The small and the medium kernel are trained as the sum of several depthwise
convolutions, of rows, columns, rectangles, a 2x2 with gaps, and rows followed by columns, all of which are linear: in
evaluation they are one 3x3 and one 7x7. A row followed by a column is the outer product of the two, as long as no bias
stands in between. Between the stages both mixers see all channels at stride 2, which doubles them.

    y = x + W2 gelu(W1 BN([x1, S(x2), M(x3), L(x4)]))      a BatchNorm behind each of W1 and W2
    S = 3x3 + 3x1 + 1x3 + 2x2 with dilation 2              M = 7x7 + 5x3 + 3x5 + 7x1 o 1x7 + 5x1 o 1x5

Cost of a block: HW C (9 + 49 + 22) / 4 + 4 HW C^2 multiply-adds fused, and HW C 64 / 4 more in training. RepNeXt-M0 at
224 pixels: 2.7 M parameters and 403 M multiply-adds, fused 2.3 M and 388 M.

Where this differs: in training the official network returns the logits of its two linear classifiers as a pair, the
second for a loss against a teacher (touvron2021training); ours always returns their mean, which is what both return in
evaluation, and ``forward_heads`` gives the pair. L stays two convolutions: its row has a bias, in whose place the
column sees zeros beyond the border. The BatchNorm behind the mixers could be folded, and stays in the official fused
form and in ours. The classifiers' BatchNorm takes its running statistics where a single image is trained on, which the
official one refuses.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    FusedConv2d,
    PooledBatchNorm,
    batch_norm_as_affine,
    check_positive,
    dilate_kernel,
    pad_kernel,
)

PAPER = "zhao2024repnext"
CHAPTER = "13_large_kernels"


class ParallelDepthwise(nn.Module):
    """A sum of depthwise convolutions on the same input.

    Args:
        dim: channels C.
        branches: each a convolution, or a row and then a column; the first has the largest kernel.

    Shapes:
        (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)), with the branches' stride
    """

    def __init__(self, dim: int, branches: list[nn.Module]):
        super().__init__()
        self.dim = dim
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
        largest, *others = self.branches
        y = largest(x)
        for branch in others:
            y += branch(x)
        return y

    def fused(self) -> FusedConv2d:
        """The same function as one convolution of the largest kernel."""
        largest = self.branches[0]
        kernel = sum(pad_kernel(dense_kernel(branch), largest.kernel_size) for branch in self.branches)
        bias = sum(part.bias.double() for part in self.branches if getattr(part, "bias", None) is not None)
        dtype = largest.weight.dtype
        return FusedConv2d(kernel.to(dtype), bias.to(dtype), largest.stride, largest.padding, groups=self.dim)


def dense_kernel(branch: nn.Module) -> Tensor:
    """The kernel (C, 1, k_h, k_w) that a branch amounts to, in double precision."""
    if isinstance(branch, nn.Sequential):
        row, column = branch
        return column.weight.double() * row.weight.double()  # (C, 1, k, 1) (C, 1, 1, k) -> (C, 1, k, k)
    return dilate_kernel(branch.weight.double(), branch.dilation[0])


def depthwise(dim: int, rows: int, columns: int, stride: int | tuple[int, int] = 1, bias: bool = True) -> nn.Conv2d:
    """A depthwise convolution of an odd kernel, padded so that the size stays at stride 1."""
    return nn.Conv2d(dim, dim, (rows, columns), stride, (rows // 2, columns // 2), groups=dim, bias=bias)


def row_then_column(dim: int, size: int, stride: int) -> nn.Sequential:
    """1 x ``size``, then ``size`` x 1, without biases; each strides along its own axis."""
    return nn.Sequential(
        depthwise(dim, 1, size, (1, stride), bias=False),
        depthwise(dim, size, 1, (stride, 1), bias=False),
    )


class SmallMixer(ParallelDepthwise):
    """S: a 3x3 with a row, a column, and the four corners (a 2x2 with dilation 2).

    Args:
        dim: channels C.
        stride: 1, or 2 between the stages, where the row is followed by the column instead of standing beside it.

    Shapes:
        (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, dim: int, stride: int = 1):
        row_and_column = [depthwise(dim, 3, 1), depthwise(dim, 1, 3)] if stride == 1 else [row_then_column(dim, 3, 2)]
        corners = nn.Conv2d(dim, dim, 2, stride, padding=1, dilation=2, groups=dim)
        super().__init__(dim, [depthwise(dim, 3, 3, stride), *row_and_column, corners])


class MediumMixer(ParallelDepthwise):
    """M: a 7x7 with two rectangles, and twice a row followed by a column.

    Args:
        dim: channels C.
        stride: 1, or 2 between the stages.

    Shapes:
        (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, dim: int, stride: int = 1):
        sizes = (7, 7), (5, 3), (3, 5)
        branches = [depthwise(dim, rows, columns, stride) for rows, columns in sizes]
        super().__init__(dim, [*branches, row_then_column(dim, 7, stride), row_then_column(dim, 5, stride)])


class QuarterMixer(nn.Module):
    """Four quarters of the channels: one passes, and one each for the small, the medium and the large kernel.

    Args:
        dim: channels C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.small = SmallMixer(dim // 4)
        self.medium = MediumMixer(dim // 4)
        self.large = nn.Sequential(depthwise(dim // 4, 1, 11), depthwise(dim // 4, 11, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        same, small, medium, large = x.chunk(4, 1)  # (B, C / 4, H, W) each
        return torch.cat([same, self.small(small), self.medium(medium), self.large(large)], 1)  # (B, C, H, W)


class DoublingMixer(nn.Module):
    """The small and the medium kernel at stride 2, both on all channels, side by side.

    Args:
        dim: channels C.

    Shapes:
        (B, C, H, W) -> (B, 2C, ceil(H / 2), ceil(W / 2))
    """

    def __init__(self, dim: int):
        super().__init__()
        self.small = SmallMixer(dim, stride=2)
        self.medium = MediumMixer(dim, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2C, ceil(H / 2), ceil(W / 2))."""
        return torch.cat([self.small(x), self.medium(x)], 1)


class RepNeXtBlock(nn.Module):
    """Mix pixels, then channels; one shortcut around both.

    Args:
        dim: channels C.
        mlp_ratio: width of the hidden layer as a multiple of C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, mlp_ratio: int = 2):
        super().__init__()
        self.mixer = QuarterMixer(dim)
        self.norm = nn.BatchNorm2d(dim)
        self.mlp = mlp(dim, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = self.mlp(self.norm(self.mixer(x)))
        y += x
        return y


class Downsample(nn.Module):
    """Halve the sides, double the channels, then mix those; the shortcut is around the second step.

    Args:
        dim: channels C.
        mlp_ratio: width of the hidden layer as a multiple of 2C.

    Shapes:
        (B, C, H, W) -> (B, 2C, ceil(H / 2), ceil(W / 2))
    """

    def __init__(self, dim: int, mlp_ratio: int = 2):
        super().__init__()
        self.mixer = DoublingMixer(dim)
        self.norm = nn.BatchNorm2d(2 * dim)
        self.mlp = mlp(2 * dim, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2C, ceil(H / 2), ceil(W / 2))."""
        x = self.norm(self.mixer(x))  # (B, 2C, H / 2, W / 2)
        y = self.mlp(x)
        y += x
        return y


def mlp(dim: int, ratio: int) -> nn.Sequential:
    """Two layers at every pixel, each with a BatchNorm."""
    return nn.Sequential(ConvNormAct(dim, ratio * dim, act=nn.GELU), ConvNormAct(ratio * dim, dim, act=None))


class TwoHeads(nn.Module):
    """Two linear classifiers behind a BatchNorm each: one for the labels, one for a teacher; the mean of their logits.

    Args:
        dim: features C.
        num_classes: number of logits.

    Shapes:
        (B, C) -> (B, num_classes)
    """

    def __init__(self, dim: int, num_classes: int):
        super().__init__()
        self.label = nn.Sequential(PooledBatchNorm(dim), nn.Linear(dim, num_classes))
        self.teacher = nn.Sequential(PooledBatchNorm(dim), nn.Linear(dim, num_classes))
        for _, linear in (self.label, self.teacher):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) -> (B, num_classes)."""
        return (self.label(x) + self.teacher(x)) / 2

    def fused(self) -> nn.Linear:
        """The same function in evaluation as one linear layer."""
        weight, bias = 0, 0
        for norm, linear in (self.label, self.teacher):
            scale, shift = batch_norm_as_affine(norm)
            weight = weight + linear.weight.double() * scale / 2
            bias = bias + (linear.weight.double() @ shift + linear.bias.double()) / 2
        fused = nn.Linear(*weight.shape[::-1], device="meta")
        fused.weight = nn.Parameter(weight.to(linear.weight.dtype), requires_grad=False)
        fused.bias = nn.Parameter(bias.to(linear.weight.dtype), requires_grad=False)
        return fused


class RepNeXt(Classifier):
    """Classifier of a stem of two convolutions, four stages, and two linear layers whose logits are averaged.

    Args:
        dim: channels of the first stage; each other stage has twice as many as the one before it.
        depths: blocks in each of the four stages, beside the three that downsample.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        mlp_ratio: width of the hidden layers as a multiple of the stage's.
        dropout: probability with which a pooled feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range; ``dim`` no multiple of four.
    """

    def __init__(
        self,
        dim: int,
        depths: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        mlp_ratio: int = 2,
        dropout: float = 0.0,
    ):
        check_positive("RepNeXt", dim=dim, depths=min(depths), mlp_ratio=mlp_ratio)
        if dim % 4:
            raise ValueError(f"RepNeXt: dim must be a multiple of 4, for four equal quarters; got {dim}")
        dims = tuple(dim * 2**stage for stage in range(4))
        super().__init__(in_chans, num_features=dims[-1], dropout=dropout)
        self.pyramid_channels = dims
        self.stem = nn.Sequential(
            ConvNormAct(in_chans, dim // 2, 3, stride=2, act=nn.GELU),
            ConvNormAct(dim // 2, dim, 3, stride=2, act=None),
        )
        self.stages = nn.ModuleList()
        for stage, (width, depth) in enumerate(zip(dims, depths)):
            first = [Downsample(width // 2, mlp_ratio)] if stage else []
            self.stages.append(nn.Sequential(*first, *(RepNeXtBlock(width, mlp_ratio) for _ in range(depth))))
        self.reset_head(num_classes)

    def reset_head(self, num_classes: int) -> None:
        """Put two fresh linear classifiers on the pooled features, or none at all if ``num_classes`` is 0."""
        super().reset_head(num_classes)
        if num_classes:
            self.head = TwoHeads(self.head_features, num_classes)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stem(x)  # (B, C_1, H / 4, W / 4)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)  # (B, C_i, H / 4, W / 4) and so on
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]

    def forward_heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logits (B, num_classes) for the labels and those for a teacher, from the images (B, in_chans, H, W)."""
        x = self.pre_logits(self.forward_features(x))  # (B, num_features)
        x = F.dropout(x, self.dropout, self.training)
        return self.head.label(x), self.head.teacher(x)


MODELS = {
    "repnext_m0": partial(RepNeXt, dim=40, depths=(2, 2, 9, 1)),
    "repnext_m1": partial(RepNeXt, dim=48, depths=(3, 3, 15, 2)),
    "repnext_m2": partial(RepNeXt, dim=56, depths=(3, 3, 15, 2)),
    "repnext_m3": partial(RepNeXt, dim=64, depths=(3, 3, 13, 2)),
    "repnext_m4": partial(RepNeXt, dim=64, depths=(5, 5, 25, 4)),
    "repnext_m5": partial(RepNeXt, dim=80, depths=(7, 7, 35, 2)),
}
REFERENCES = {
    "repnext_m0": ("recorded:repnext_m0",),
    "repnext_m1": ("counted:repnext_m1",),
    "repnext_m2": ("counted:repnext_m2",),
    "repnext_m3": ("counted:repnext_m3",),
    "repnext_m4": ("counted:repnext_m4",),
    "repnext_m5": ("counted:repnext_m5",),
}
