"""UniRepLKNet: a few large depthwise kernels to see far, many small ones to go deep, and the large ones are folded.

Paper: ding2024unireplknet, section 3. In training a 13x13 depthwise convolution has five companions on the
same input, of kernels 5, 7, 3, 3 and 3 with dilations 1 to 5, each with its own BatchNorm. A dilated kernel is a large
one with zeros between its taps, so that in evaluation the six are one 13x13: large kernels are hard to train, and the
sparse companions teach this one patterns of every size. Around it stand a squeeze-and-excitation gate and a two-layer
network at every pixel with global response normalisation (woo2023convnextv2) in between.

    y = x + gamma * BN(W2 GRN(gelu(W1 SE(BN(sum_i BN_i(dw_i(x)))))))       gamma: one factor a channel, at first 1e-6
    GRN(h)_c = h_c (1 + a_c n_c / mean(n)) + b_c,   n_c = the root of the sum of squares of channel c over the image

Stages of eighteen blocks alternate 13x13 and 3x3; of twenty-seven, every third is 13x13.

Cost of a block: HW C (K^2 + 8C) multiply-adds fused, and HW C 101 more in training for the companions of a 13x13.
UniRepLKNet-A at 224 pixels: 4.6 M parameters and 675 M multiply-adds, fused 4.4 M and 640 M.

Where this differs: nothing from the official code. Folding goes further than the kernel: the BatchNorm behind the sum
joins it; b passes W2, and W2, its BatchNorm and gamma become one convolution with a bias. The norm n and the mean are
over the whole image and all channels, so that GRN itself cannot be folded. Stochastic depth (``drop_path_rate``) is off
by default, as there.
"""

from collections import OrderedDict
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    DropPath,
    FusedConv2d,
    LayerNorm2d,
    LayerScale,
    SqueezeExcite,
    batch_norm_as_affine,
    check_positive,
    dilate_kernel,
    drop_path_rates,
    init_truncated_normal,
    pad_kernel,
)

PAPER = "ding2024unireplknet"
CHAPTER = "13_large_kernels"

# The companions (kernel, dilation) of each large kernel.
COMPANIONS = {
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}


class DilatedReparam(nn.Module):
    """A large depthwise convolution and its dilated companions side by side, each with a BatchNorm; one more behind.

    Args:
        dim: channels C.
        kernel_size: side of the large kernel: 7, 9, 11, 13, 15 or 17.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: a kernel size for which the paper has no companions.
    """

    def __init__(self, dim: int, kernel_size: int = 13):
        super().__init__()
        if kernel_size not in COMPANIONS:
            raise ValueError(f"DilatedReparam: kernel_size must be one of {[*COMPANIONS]}; got {kernel_size}")
        branches = ((kernel_size, 1), *COMPANIONS[kernel_size])
        self.branches = nn.ModuleList(
            ConvNormAct(dim, dim, size, groups=dim, dilation=dilation, act=None) for size, dilation in branches
        )
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        large, *companions = self.branches
        y = large(x)
        for companion in companions:
            y += companion(x)
        return self.norm(y)

    def fused(self) -> FusedConv2d:
        """The same function in evaluation as one large convolution."""
        large = self.branches[0].conv
        kernel, bias = 0, 0
        for conv, norm in self.branches:
            scale, shift = batch_norm_as_affine(norm)
            dense = dilate_kernel(conv.weight.double() * scale[:, None, None, None], conv.dilation[0])
            kernel = kernel + pad_kernel(dense, large.kernel_size)  # (C, 1, K, K)
            bias = bias + shift
        scale, shift = batch_norm_as_affine(self.norm)
        kernel, bias = kernel * scale[:, None, None, None], bias * scale + shift
        dtype = large.weight.dtype
        return FusedConv2d(kernel.to(dtype), bias.to(dtype), padding=large.padding, groups=large.groups)


class GlobalResponseNorm(nn.Module):
    """Scale each channel by its share of the image's response, so that channels compete; and a shortcut.

    Paper: woo2023convnextv2, section 4.

    Args:
        dim: channels C.
        bias: learn a shift.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim, 1, 1))
        self.bias = nn.Parameter(torch.zeros(dim, 1, 1)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        # Squares overflow half precision. The least sum gives a channel of zeros a gradient; in channels-last this
        # takes a tenth of the time of torch.linalg.vector_norm.
        squares = x.to(torch.promote_types(x.dtype, torch.float32)).square()
        norm = squares.sum((2, 3), keepdim=True).clamp_min(1e-24).sqrt()  # (B, C, 1, 1)
        share = norm / (norm.mean(1, keepdim=True) + 1e-6)
        factor = (1 + self.weight * share).to(x.dtype)
        return x * factor if self.bias is None else torch.addcmul(self.bias, x, factor)


class FeedForward(nn.Module):
    """Two layers at every pixel with global response normalisation in between; BatchNorm and layer scale at the end.

    Args:
        dim: channels C; the hidden layer has four times as many.
        layer_scale: the factor gamma at the start.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, layer_scale: float = 1e-6):
        super().__init__()
        self.expand = nn.Conv2d(dim, 4 * dim, 1)
        self.respond = GlobalResponseNorm(4 * dim)
        self.project = ConvNormAct(4 * dim, dim, act=None)
        self.scale = LayerScale(dim, layer_scale)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = self.respond(F.gelu(self.expand(x)))  # (B, 4C, H, W)
        return self.scale(self.project(y))  # (B, C, H, W)

    def fused(self) -> nn.Module:
        """The same function in evaluation: the shift of the response, BatchNorm and gamma join the last convolution."""
        respond = GlobalResponseNorm(len(self.respond.weight), bias=False)
        respond.weight = self.respond.weight
        scale, shift = batch_norm_as_affine(self.project.norm)
        scale, shift = (factor * self.scale.gamma.double().flatten() for factor in (scale, shift))
        conv = self.project.conv
        weight = conv.weight.double() * scale[:, None, None, None]  # (C, 4C, 1, 1)
        bias = shift + weight.flatten(1) @ self.respond.bias.double().flatten()
        project = FusedConv2d(weight.to(conv.weight.dtype), bias.to(conv.weight.dtype))
        return nn.Sequential(OrderedDict(expand=self.expand, act=nn.GELU(), respond=respond, project=project))


class UniRepLKNetBlock(nn.Module):
    """Look around, weigh the channels, work at every pixel; shortcut.

    Args:
        dim: channels C.
        kernel_size: of the depthwise convolution: 3, 5, or a large one with dilated companions.
        layer_scale: the factor gamma at the start.
        drop_path_rate: probability with which an image skips the block in training.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: a kernel size for which the paper has no companions.
    """

    def __init__(self, dim: int, kernel_size: int, layer_scale: float = 1e-6, drop_path_rate: float = 0.0):
        super().__init__()
        if kernel_size in (3, 5):
            self.look = ConvNormAct(dim, dim, kernel_size, groups=dim, act=None)
        else:
            self.look = DilatedReparam(dim, kernel_size)
        self.gate = SqueezeExcite(dim, dim // 4)
        self.feed_forward = FeedForward(dim, layer_scale)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = self.gate(self.look(x))
        y = self.drop_path(self.feed_forward(y))
        y += x
        return y


class UniRepLKNet(Classifier):
    """Classifier of a convolutional stem and four stages; mean, LayerNorm and linear layer at the end.

    Args:
        dims: channels of the four stages.
        kernel_sizes: for each stage the kernel of each of its blocks.
        num_classes: number of logits; 0 gives the pooled and normalised features (B, num_features).
        in_chans: channels of the input image.
        layer_scale: what the blocks' factor gamma starts from.
        drop_path_rate: probability with which an image skips the last block in training; it rises linearly from 0 at
            the first.
        dropout: probability with which a pooled feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range; a kernel size without
            companions; not as many stages of kernels as of channels.
    """

    def __init__(
        self,
        dims: tuple[int, int, int, int],
        kernel_sizes: tuple[tuple[int, ...], ...],
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        layer_scale: float = 1e-6,
        drop_path_rate: float = 0.0,
        dropout: float = 0.0,
    ):
        check_positive("UniRepLKNet", dims=min(dims), layer_scale=layer_scale)
        super().__init__(in_chans, num_features=dims[-1], dropout=dropout)
        self.pyramid_channels = tuple(dims)

        def halve(in_dim: int, out_dim: int) -> list[nn.Module]:
            return [nn.Conv2d(in_dim, out_dim, 3, stride=2, padding=1), LayerNorm2d(out_dim)]

        self.stem = nn.Sequential(*halve(in_chans, dims[0] // 2), nn.GELU(), *halve(dims[0] // 2, dims[0]))
        self.downsamples = nn.ModuleList(nn.Sequential(*halve(*pair)) for pair in pairwise(dims))
        rates = drop_path_rates(drop_path_rate, tuple(map(len, kernel_sizes)))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(UniRepLKNetBlock(dim, size, layer_scale, rate) for size, rate in zip(sizes, rates_of_stage))
            )
            for dim, sizes, rates_of_stage in zip(dims, kernel_sizes, rates, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        maps = [self.stages[0](self.stem(x))]  # (B, C_1, H / 4, W / 4)
        for downsample, stage in zip(self.downsamples, self.stages[1:]):
            maps.append(stage(downsample(maps[-1])))  # (B, C_i, H / 8, W / 8) and so on
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]

    def pre_logits(self, x: Tensor) -> Tensor:
        """What the linear classifier sees: (B, num_features, H', W') -> normalised means (B, num_features)."""
        return self.norm(super().pre_logits(x))


def shallow(middle: int) -> tuple[tuple[int, ...], ...]:
    """Kernels of A, F, P and N: small in the first stage, where the map is large, and 13 in all others."""
    return (3, 3), (13, 13), (13,) * middle, (13, 13)


def deep(*period: int) -> tuple[tuple[int, ...], ...]:
    """Kernels of T and S: the third stage repeats ``period`` nine times."""
    return (3, 3, 3), (13, 13, 13), period * 9, (13, 13, 13)


MODELS = {
    "unireplknet_a": partial(UniRepLKNet, (40, 80, 160, 320), shallow(6)),
    "unireplknet_f": partial(UniRepLKNet, (48, 96, 192, 384), shallow(6)),
    "unireplknet_p": partial(UniRepLKNet, (64, 128, 256, 512), shallow(6)),
    "unireplknet_n": partial(UniRepLKNet, (80, 160, 320, 640), shallow(8)),
    "unireplknet_t": partial(UniRepLKNet, (80, 160, 320, 640), deep(13, 3)),
    "unireplknet_s": partial(UniRepLKNet, (96, 192, 384, 768), deep(13, 3, 3)),
}
REFERENCES = {
    "unireplknet_a": ("recorded:unireplknet_a",),
    "unireplknet_f": ("counted:unireplknet_f",),
    "unireplknet_p": ("counted:unireplknet_p",),
    "unireplknet_n": ("counted:unireplknet_n",),
    "unireplknet_t": ("counted:unireplknet_t",),
    "unireplknet_s": ("counted:unireplknet_s",),
}
