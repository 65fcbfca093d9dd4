"""MobileNetV2: expand, look around in every channel, project back, and put no activation on the narrow part.

Paper: sandler2018mobilenetv2, tables 1 and 2. MobileNetV1's separable convolution is turned inside out. The block's
ends are narrow, so that little memory is carried between blocks; inside, a 1x1 convolution expands t-fold, a depthwise
3x3 works in the wide space, and a 1x1 projects back. The projection stays linear, because a ReLU in few dimensions
destroys what it cuts off (section 3.2), and the shortcut connects the narrow ends: an inverted residual.

    y = x + BN(W_project dw3x3(relu6(W_expand x)))      the sum where stride is 1 and the width stays

Cost of a block: HW t C (C + 9 + C') multiply-adds at stride 1, with a BatchNorm and ReLU6 after the first two
convolutions. The whole at width 1 and 224 pixels: 3.5 M parameters, 301 M multiply-adds.

Where this differs: nothing from torchvision and timm, which agree. The head keeps its 1280 channels at widths below 1
and widens above, as section 5.1 says.
"""

from functools import partial

from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    ReLU6,
    check_positive,
    init_conv_weights,
    make_divisible,
)

PAPER = "sandler2018mobilenetv2"
CHAPTER = "01_depthwise_separable_convolution"

# Table 2: expansion t, channels c, repeats n, stride s of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Expand by 1x1, depthwise 3x3, project linearly by 1x1; with a shortcut where the shape stays.

    Args:
        dim: channels C.
        out_dim: channels C'.
        stride: of the depthwise convolution.
        expansion: t; with 1 the expanding convolution is left out.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, dim: int, out_dim: int, stride: int = 1, expansion: int = 6):
        super().__init__()
        hidden = dim * expansion
        self.has_shortcut = stride == 1 and dim == out_dim
        self.expand = ConvNormAct(dim, hidden, act=ReLU6) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNormAct(hidden, hidden, 3, stride, groups=hidden, act=ReLU6)
        self.project = ConvNormAct(hidden, out_dim, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        y = self.expand(x)  # (B, tC, H, W)
        y = self.depthwise(y)  # (B, tC, H / stride, W / stride)
        y = self.project(y)  # (B, C', H / stride, W / stride)
        return x + y if self.has_shortcut else y


class MobileNetV2(Classifier):
    """Classifier of seventeen inverted residuals.

    Args:
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        width_multiplier: scales every channel count.
        dropout: probability with which a pooled feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        width_multiplier: float = 1.0,
        dropout: float = 0.2,
    ):
        check_positive("MobileNetV2", width_multiplier=width_multiplier)
        num_features = make_divisible(1280 * max(1.0, width_multiplier))
        super().__init__(in_chans, num_features, dropout)

        dim = make_divisible(32 * width_multiplier)
        self.stem = ConvNormAct(in_chans, dim, 3, stride=2, act=ReLU6)
        self.stages = nn.ModuleList()
        for expansion, channels, repeats, stride in STAGES:
            out_dim = make_divisible(channels * width_multiplier)
            blocks = [InvertedResidual(dim, out_dim, stride, expansion)]
            blocks += [InvertedResidual(out_dim, out_dim, 1, expansion) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(*blocks))
            dim = out_dim
        self.last = ConvNormAct(dim, num_features, act=ReLU6)
        # The last stage of each of the strides 4, 8, 16 and 32.
        self.pyramid_stages = (1, 2, 4, 6)
        self.pyramid_channels = tuple(make_divisible(STAGES[i][1] * width_multiplier) for i in self.pyramid_stages)
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stem(x)  # (B, 32, H / 2, W / 2)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.pyramid_stages:
                maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.last(self.forward_pyramid(x)[-1])


MODELS = {
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v2_140": partial(MobileNetV2, width_multiplier=1.4),
    "mobilenet_v2_075": partial(MobileNetV2, width_multiplier=0.75),
    "mobilenet_v2_050": partial(MobileNetV2, width_multiplier=0.5),
    "mobilenet_v2_035": partial(MobileNetV2, width_multiplier=0.35),
}
REFERENCES = {
    "mobilenet_v2": ("torchvision:mobilenet_v2", "timm:mobilenetv2_100"),
    "mobilenet_v2_140": ("timm:mobilenetv2_140",),
    "mobilenet_v2_075": ("timm:mobilenetv2_075",),
    "mobilenet_v2_050": ("timm:mobilenetv2_050",),
    "mobilenet_v2_035": ("timm:mobilenetv2_035",),
}
