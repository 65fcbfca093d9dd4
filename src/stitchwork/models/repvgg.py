"""RepVGG: train with three branches, use one 3x3 convolution.

Paper: ding2021repvgg, figure 2, section 3.3 and table 2. A block is the sum of a 3x3 convolution, a 1x1 convolution
and, where the shape stays, the identity, each with its own BatchNorm, and a ReLU after the sum. The branches help
training as a shortcut does. In evaluation all three are linear with constant statistics, so that they are one
convolution: each BatchNorm scales the kernel before it, the 1x1 kernel is the centre of a 3x3, and so is the identity,
whose kernel is the unit matrix. What is left is a plain stack of 3x3 convolutions and ReLUs, as in VGG.

    y = relu(BN(W3 x) + BN(W1 x) + BN(x))                                       in training
    y = relu(W x + b),   W = s3 W3 + pad(s1 W1 + diag(s0)),   b = b3 + b1 + b0    fused

with s = gamma / sqrt(variance + eps) and b = beta - s mean of each branch's BatchNorm.

Cost of a block: HW (9 + 1) C C' multiply-adds in training and HW 9 C C' fused. RepVGG-A0 at 224 pixels: 9.1 M
parameters and 1.51 G multiply-adds, fused 8.3 M and 1.36 G.

Where this differs: nothing from the official code and timm, which agree. Grouped variants have groups in every second
block, so that the channels mix in between; the identity's kernel then has one unit matrix for each group.
"""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    FusedConv2d,
    ReLU,
    batch_norm_as_affine,
    check_multiple,
    check_positive,
    init_conv_weights,
    pad_kernel,
)

PAPER = "ding2021repvgg"
CHAPTER = "11_residual_and_reparameterised"


class RepVGGBlock(nn.Module):
    """A 3x3 and a 1x1 convolution and the identity side by side, each with a BatchNorm; one ReLU after their sum.

    Args:
        dim: channels C.
        out_dim: channels C'.
        stride: of both convolutions; the identity takes part where it is 1 and the width stays.
        groups: of both convolutions.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))

    Raises:
        ValueError: ``groups`` does not divide a channel count.
    """

    def __init__(self, dim: int, out_dim: int, stride: int = 1, groups: int = 1):
        super().__init__()
        check_multiple("RepVGGBlock", dim, groups=groups)
        check_multiple("RepVGGBlock", out_dim, groups=groups)
        self.dense = ConvNormAct(dim, out_dim, 3, stride, groups, act=None)
        # A strided 1x1 convolution is one of every second pixel. With few channels these are taken first, because
        # oneDNN 3 writes past its memory in the strided one's weight gradient, in the channels-last layout.
        self.step = stride if dim // groups < 16 else 1
        self.pointwise = ConvNormAct(dim, out_dim, 1, stride // self.step, groups, act=None)
        self.identity = nn.BatchNorm2d(dim) if stride == 1 and dim == out_dim else None
        self.act = ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        y = self.dense(x)  # (B, C', H / stride, W / stride)
        y += self.pointwise(x[:, :, :: self.step, :: self.step])
        if self.identity is not None:
            y += self.identity(x)
        return self.act(y)

    def fused(self) -> nn.Module:
        """The same function in evaluation as one 3x3 convolution and the ReLU."""
        dense, pointwise = self.dense.fused().conv, self.pointwise.fused().conv
        centre, bias = pointwise.weight.double(), dense.bias.double() + pointwise.bias.double()
        if self.identity is not None:
            scale, shift = batch_norm_as_affine(self.identity)
            # Channel i of a group reads channel i of the same group, and a grouped kernel counts within the group.
            groups, per_group = dense.groups, centre.shape[1]
            unit = torch.eye(per_group, dtype=torch.double, device=centre.device).repeat(groups, 1)  # (C, C / groups)
            centre = centre + (scale[:, None] * unit)[:, :, None, None]
            bias = bias + shift
        weight = dense.weight.double() + pad_kernel(centre, dense.kernel_size)  # (C', C / groups, 3, 3)
        dtype = dense.weight.dtype
        conv = FusedConv2d(weight.to(dtype), bias.to(dtype), dense.stride, dense.padding, groups=dense.groups)
        return nn.Sequential(OrderedDict(conv=conv, act=self.act))


class RepVGG(Classifier):
    """Classifier of a strided first block and four stages of RepVGG blocks; the first of each stage has stride 2.

    Args:
        depths: blocks in each of the four stages.
        a: scales the channels of the first three stages, 64, 128 and 256; the first block has at most 64.
        b: scales the 512 channels of the last stage.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        groups: of the convolutions in every second block (4 in RepVGG-B1g4).
        dropout: probability with which a pooled feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range; groups that do not divide a
            channel count.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        a: float,
        b: float,
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        groups: int = 1,
        dropout: float = 0.0,
    ):
        check_positive("RepVGG", depths=min(depths), a=a, b=b, groups=groups)
        widths = (int(64 * a), int(128 * a), int(256 * a), int(512 * b))
        super().__init__(in_chans, num_features=widths[-1], dropout=dropout)
        self.pyramid_channels = widths

        dim = min(64, widths[0])
        self.stem = RepVGGBlock(in_chans, dim, stride=2)
        self.stages = nn.ModuleList()
        for width, depth in zip(widths, depths, strict=True):
            blocks = [RepVGGBlock(dim, width, stride=2)]
            blocks += [RepVGGBlock(width, width, groups=groups if i % 2 else 1) for i in range(1, depth)]
            self.stages.append(nn.Sequential(*blocks))
            dim = width
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stem(x)  # (B, 64, H / 2, W / 2), fewer channels where a < 1
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]


small = partial(RepVGG, (2, 4, 14, 1))
large = partial(RepVGG, (4, 6, 16, 1))

MODELS = {
    "repvgg_a0": partial(small, a=0.75, b=2.5),
    "repvgg_a1": partial(small, a=1.0, b=2.5),
    "repvgg_a2": partial(small, a=1.5, b=2.75),
    "repvgg_b0": partial(large, a=1.0, b=2.5),
    "repvgg_b1": partial(large, a=2.0, b=4.0),
    "repvgg_b1g4": partial(large, a=2.0, b=4.0, groups=4),
    "repvgg_b2": partial(large, a=2.5, b=5.0),
    "repvgg_b3": partial(large, a=3.0, b=5.0),
}
REFERENCES = {name: (f"timm:{name}",) for name in MODELS}
