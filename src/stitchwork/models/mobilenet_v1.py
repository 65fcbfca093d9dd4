"""MobileNetV1: a whole network of depthwise separable convolutions, with two dials.

Paper: howard2017mobilenets, table 1. A strided 3x3 convolution, thirteen depthwise separable convolutions, global
average pooling, a linear classifier. The dials shrink it: the width multiplier alpha scales every channel count (cost
falls roughly with alpha^2), the resolution multiplier rho scales the side of the input image (cost falls with rho^2).
Rho is no argument: feed a smaller image; the paper uses 224, 192, 160 and 128 pixels.

Cost at alpha = 1 and 224 pixels: 4.2 M parameters, 569 M multiply-adds.

Where this differs: the paper says ReLU, the official code has ReLU6, which is the default here. Channel counts
are rounded to multiples of 8 as in MobileNetV2's code, which changes none of the paper's four widths. TensorFlow pads a
strided convolution at the bottom and right only; here the padding is symmetric, as in timm.
"""

from functools import partial

from torch import Tensor, nn

from stitchwork.blocks.depthwise_separable_conv import DepthwiseSeparableConv
from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    ReLU6,
    check_positive,
    init_conv_weights,
    make_divisible,
)

PAPER = "howard2017mobilenets"
CHAPTER = "01_depthwise_separable_convolution"

# (channels, stride) of the thirteen separable convolutions, grouped by the resolution at which they work: table 1.
STAGES = (
    ((64, 1),),
    ((128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    ((1024, 2), (1024, 1)),
)


class MobileNetV1(Classifier):
    """Classifier of thirteen depthwise separable convolutions.

    Args:
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        width_multiplier: alpha.
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
        dropout: float = 0.0,
    ):
        check_positive("MobileNetV1", width_multiplier=width_multiplier)
        widths = [[make_divisible(c * width_multiplier) for c, _ in stage] for stage in STAGES]
        super().__init__(in_chans, num_features=widths[-1][-1], dropout=dropout)
        self.pyramid_channels = tuple(stage[-1] for stage in widths[1:])

        dim = make_divisible(32 * width_multiplier)
        self.stem = ConvNormAct(in_chans, dim, 3, stride=2, act=ReLU6)
        self.stages = nn.ModuleList()
        for stage, stage_widths in zip(STAGES, widths):
            layers = nn.Sequential()
            for (_, stride), out_dim in zip(stage, stage_widths):
                layers.append(DepthwiseSeparableConv(dim, out_dim, stride=stride, act=ReLU6))
                dim = out_dim
            self.stages.append(layers)
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stages[0](self.stem(x))  # (B, 64a, H / 2, W / 2)
        maps = []
        for stage in self.stages[1:]:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]


MODELS = {
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v1_125": partial(MobileNetV1, width_multiplier=1.25),
}
REFERENCES = {
    "mobilenet_v1": ("timm:mobilenetv1_100",),
    "mobilenet_v1_125": ("timm:mobilenetv1_125",),
}
