"""DeepLabV3 and FCN: a classifier that keeps its last map large, and a head for every pixel.

Paper: chen2017rethinking, sections 3.1 to 3.3; before it long2015fully, section 3. The last two stages of a ResNet lose
their stride and dilate their 3x3 convolutions instead, so that the map stays at an eighth of the image and each number
of it still sees as much. FCN puts one 3x3 convolution on it; DeepLabV3 looks at several distances at once and at the
mean of the image (``blocks.aspp``). The logits are scaled up.

Cost: the encoder at stride 8 has several times the multiply-adds of the classifier: 31.3 G for DeepLabV3 on ResNet-50
at 224 pixels, where the classifier has 4.1 G.

Where this differs: nothing from torchvision's without its auxiliary head, which only training uses. FCN's paper adds
the finer maps' logits; torchvision's, and this, takes the last map alone.
"""

from functools import partial

from torch import Tensor, nn

from stitchwork.blocks.aspp import ASPP
from stitchwork.layers import ConvNormAct, Segmenter, check_positive, init_conv_weights
from stitchwork.models.resnet import ResNet

PAPER = "chen2017rethinking"
CHAPTER = "22_dense_heads"


class DilatedResNet(Segmenter):
    """A ResNet at stride 8, something that looks around on its last map, logits scaled up.

    Args:
        depths: blocks of the ResNet's four stages.
        width: the ResNet's.
        context: what stands on the last map, with 32 times as many channels.
        num_features: channels that it gives.
        num_classes: number of logits for each pixel; 0 gives the features (B, num_features, H / 8, W / 8).
        in_chans: channels of the input image.
        dropout: probability with which a feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes, H, W), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        width: int,
        context: nn.Module,
        num_features: int,
        num_classes: int,
        in_chans: int,
        dropout: float = 0.0,
    ):
        super().__init__(in_chans, num_features, dropout=dropout)
        self.encoder = ResNet(depths, num_classes=0, in_chans=in_chans, width=width, output_stride=8)
        self.pyramid_channels = self.encoder.pyramid_channels
        self.context = context.apply(init_conv_weights)
        self.reset_head(num_classes)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """The encoder's four maps, at strides 4, 8, 8 and 8: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        return self.encoder.forward_pyramid(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 8, W / 8)."""
        return self.context(self.forward_pyramid(x)[-1])


class DeepLabV3(DilatedResNet):
    """Atrous spatial pyramid pooling, then a 3x3 convolution.

    Args:
        depths: blocks of the ResNet's four stages.
        num_classes: number of logits for each pixel; 0 gives the features (B, 4 width, H / 8, W / 8).
        in_chans: channels of the input image.
        width: channels of the ResNet's first stage, in a block.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes, H, W), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(self, depths: tuple[int, int, int, int], num_classes: int = 21, in_chans: int = 3, width: int = 64):
        check_positive("DeepLabV3", width=width)
        dim = 4 * width
        context = nn.Sequential(ASPP(32 * width, (12, 24, 36), dim), ConvNormAct(dim, dim, 3))
        super().__init__(depths, width, context, dim, num_classes, in_chans)


class FCN(DilatedResNet):
    """A 3x3 convolution.

    Args:
        depths: blocks of the ResNet's four stages.
        num_classes: number of logits for each pixel; 0 gives the features (B, 8 width, H / 8, W / 8).
        in_chans: channels of the input image.
        width: channels of the ResNet's first stage, in a block.
        dropout: probability with which a feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes, H, W), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        num_classes: int = 21,
        in_chans: int = 3,
        width: int = 64,
        dropout: float = 0.1,
    ):
        check_positive("FCN", width=width)
        dim = 8 * width
        super().__init__(depths, width, ConvNormAct(32 * width, dim, 3), dim, num_classes, in_chans, dropout)


MODELS = {
    "deeplabv3_resnet50": partial(DeepLabV3, depths=(3, 4, 6, 3)),
    "deeplabv3_resnet101": partial(DeepLabV3, depths=(3, 4, 23, 3)),
    "fcn_resnet50": partial(FCN, depths=(3, 4, 6, 3)),
    "fcn_resnet101": partial(FCN, depths=(3, 4, 23, 3)),
}
REFERENCES = {name: (f"torchvision:{name}",) for name in MODELS}
