"""MobileNetV3: the inverted residual with a gate and a cheap smooth activation, and a layout found by search.

Paper: howard2019mobilenetv3, tables 1 and 2. A search over blocks (MnasNet) and one over single layers (NetAdapt)
chose each row of the tables: the kernel, 3x3 or 5x5, the expanded width, the gate or none. What people added: a
squeeze-and-excitation gate on the wide tensor, between the depthwise convolution and the projection; swish where maps
are small and activations cheap, with its sigmoid replaced by three straight lines; a stem of 16 channels in the place
of 32; and a last 1x1 convolution behind the pooling, where it sees one pixel in the place of 49.

    h-swish(x) = x relu6(x + 3) / 6                h-sigmoid(x) = relu6(x + 3) / 6
    y = x + BN(W_project (g u)),   u = act(BN(dw(act(BN(W_expand x))))),   g = h-sigmoid(W_2 relu(W_1 mean(u)))

Cost of a block: HW E (C + k^2 + C') + 2 E E' multiply-adds at stride 1, for E expanded channels and E' about E / 4.
The large network at 224 pixels: 5.5 M parameters and 217 M multiply-adds; the small one 2.5 M and 57 M.

Where this differs: nothing from torchvision. timm's are the same but for the BatchNorms' epsilon, 1e-5 in the place of
1e-3: ask for ``eps=1e-5`` when you load its weights. The gate's width is a quarter of the expanded one, rounded to a
multiple of 8, as all implementations have it; the paper says a quarter.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    Hardswish,
    ReLU,
    SqueezeExcite,
    check_positive,
    init_conv_weights,
    make_divisible,
)

PAPER = "howard2019mobilenetv3"
CHAPTER = "12_mobilenets_and_shufflenets"

# Tables 1 and 2, rows of one width as a stage: kernel, expanded channels, channels, gate, h-swish, stride.
LARGE = (
    ((3, 16, 16, False, False, 1),),
    ((3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1)),
    ((5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1)),
    (
        (3, 240, 80, False, True, 2),
        (3, 200, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
    ),
    ((3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1)),
    ((5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1)),
)
SMALL = (
    ((3, 16, 16, True, False, 2),),
    ((3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1)),
    ((5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1)),
    ((5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1)),
    ((5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1)),
)


class InvertedResidual(nn.Module):
    """Expand by 1x1, depthwise k x k, gate the channels, project linearly by 1x1; a shortcut where the shape stays.

    Args:
        dim: channels C.
        hidden: expanded channels E; where they are C, the expanding convolution is left out.
        out_dim: channels C'.
        kernel_size: k of the depthwise convolution.
        stride: of the depthwise convolution.
        gated: whether the expanded channels pass a squeeze-and-excitation gate.
        act: builds the activation of the two wide layers.
        norm: builds the normalisation for a number of channels.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        out_dim: int,
        kernel_size: int = 3,
        stride: int = 1,
        gated: bool = True,
        act=Hardswish,
        norm=nn.BatchNorm2d,
    ):
        super().__init__()
        self.has_shortcut = stride == 1 and dim == out_dim
        self.expand = ConvNormAct(dim, hidden, act=act, norm=norm) if hidden != dim else nn.Identity()
        self.depthwise = ConvNormAct(hidden, hidden, kernel_size, stride, groups=hidden, act=act, norm=norm)
        gate = partial(SqueezeExcite, act=ReLU, gate=nn.Hardsigmoid, inplace=True)
        self.gate = gate(hidden, make_divisible(hidden / 4)) if gated else nn.Identity()
        self.project = ConvNormAct(hidden, out_dim, act=None, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        y = self.expand(x)  # (B, E, H, W)
        y = self.depthwise(y)  # (B, E, H / stride, W / stride)
        y = self.gate(y)
        y = self.project(y)  # (B, C', H / stride, W / stride)
        return y.add_(x) if self.has_shortcut else y


class MobileNetV3(Classifier):
    """Classifier of the inverted residuals that a table lists.

    Args:
        stages: the table: for each stage its blocks, (kernel, expanded channels, channels, gate, h-swish, stride).
        hidden_features: units of the hidden layer behind the pooling.
        num_classes: number of logits; 0 gives what the linear classifier sees (B, head_features).
        in_chans: channels of the input image.
        width_multiplier: scales every channel count.
        dropout: probability with which a hidden unit is dropped in training.
        eps: of every BatchNorm, which adds it to the variance; 1e-5 for timm's weights.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        stages: tuple,
        hidden_features: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        width_multiplier: float = 1.0,
        dropout: float = 0.2,
        eps: float = 1e-3,
    ):
        check_positive("MobileNetV3", width_multiplier=width_multiplier, hidden_features=hidden_features, eps=eps)

        def width(channels: int) -> int:
            return make_divisible(channels * width_multiplier)

        num_features = 6 * width(stages[-1][-1][2])
        super().__init__(in_chans, num_features, dropout, head_features=width(hidden_features))
        norm = partial(nn.BatchNorm2d, eps=eps, momentum=0.01)

        dim = width(16)
        self.stem = ConvNormAct(in_chans, dim, 3, stride=2, act=Hardswish, norm=norm)
        self.stages = nn.ModuleList()
        for stage in stages:
            blocks = []
            for kernel_size, hidden, out_dim, gated, swish, stride in stage:
                act = Hardswish if swish else ReLU
                blocks.append(
                    InvertedResidual(dim, width(hidden), width(out_dim), kernel_size, stride, gated, act, norm)
                )
                dim = width(out_dim)
            self.stages.append(nn.Sequential(*blocks))
        self.last = ConvNormAct(dim, num_features, act=Hardswish, norm=norm)
        self.hidden = nn.Linear(num_features, self.head_features)
        # A map of the pyramid is the last one before the next stride.
        strides = [stage[0][-1] for stage in stages[1:]] + [2]
        self.pyramid_stages = tuple(i for i, stride in enumerate(strides) if stride == 2)[-4:]
        self.pyramid_channels = tuple(width(stages[i][-1][2]) for i in self.pyramid_stages)
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stem(x)  # (B, 16, H / 2, W / 2)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.pyramid_stages:
                maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.last(self.forward_pyramid(x)[-1])

    def pre_logits(self, x: Tensor) -> Tensor:
        """Pool, then the hidden layer: (B, num_features, H', W') -> (B, head_features)."""
        return F.hardswish(self.hidden(x.mean((2, 3))))


MODELS = {
    "mobilenet_v3_large": partial(MobileNetV3, stages=LARGE, hidden_features=1280),
    "mobilenet_v3_small": partial(MobileNetV3, stages=SMALL, hidden_features=1024),
}
REFERENCES = {
    "mobilenet_v3_large": ("torchvision:mobilenet_v3_large",),
    "mobilenet_v3_small": ("torchvision:mobilenet_v3_small",),
}
