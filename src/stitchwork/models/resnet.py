"""ResNet: let every block learn what to add to its input, and a hundred of them can be trained.

Paper: he2016resnet, table 1. A stack of layers has trouble even with learning the identity; a block that computes
y = relu(x + F(x)) has it for nothing. F is two 3x3 convolutions (basic block, ResNet-18 and -34) or 1x1, 3x3, 1x1 with
a narrow middle (bottleneck, from ResNet-50 on). Where the shape changes, the shortcut is a strided 1x1 convolution
(option B).

Cost at 224 pixels: ResNet-18 11.7 M parameters and 1.8 G multiply-adds, ResNet-50 25.6 M and 4.1 G.

Where this differs: the bottleneck's stride is on its 3x3 convolution, as in torchvision and timm (often called v1.5);
the paper's official Caffe networks have it on the first 1x1, which throws three quarters of the input away. ResNeXt
(xie2017resnext) makes the 3x3 grouped, Wide ResNet (zagoruyko2016wide) doubles it, and the deep stem (he2019bag,
"ResNet-C") replaces the 7x7 by three 3x3.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import Classifier, ConvNormAct, check_positive, init_conv_weights

PAPER = "he2016resnet"
CHAPTER = "11_residual_and_reparameterised"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        in_dim: channels in.
        width: channels of the stage, and of the output.
        stride: of the first convolution.

    Shapes:
        (B, in_dim, H, W) -> (B, width, ceil(H / stride), ceil(W / stride))
    """

    expansion = 1

    def __init__(self, in_dim: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = ConvNormAct(in_dim, width, 3, stride)
        self.conv2 = ConvNormAct(width, width, 3, act=None)
        self.shortcut = shortcut(in_dim, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_dim, H, W) -> (B, width, ceil(H / stride), ceil(W / stride))."""
        y = self.conv1(x)  # (B, width, H / stride, W / stride)
        y = self.conv2(y)
        y += self.shortcut(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1x1 to a narrow width, 3x3 there, 1x1 to four times the stage's width; and a shortcut.

    Args:
        in_dim: channels in.
        width: channels of the stage; the output has four times as many.
        stride: of the 3x3 convolution.
        groups: of the 3x3 convolution (32 in ResNeXt-50 32x4d).
        base_width: channels of a group of the 3x3 convolution where ``width`` is 64 (4 in ResNeXt-50 32x4d).
        dilation: of the 3x3 convolution.

    Shapes:
        (B, in_dim, H, W) -> (B, 4 width, ceil(H / stride), ceil(W / stride))
    """

    expansion = 4

    def __init__(
        self, in_dim: int, width: int, stride: int = 1, groups: int = 1, base_width: int = 64, dilation: int = 1
    ):
        super().__init__()
        inner, out_dim = width * base_width // 64 * groups, width * self.expansion
        self.conv1 = ConvNormAct(in_dim, inner, 1)
        self.conv2 = ConvNormAct(inner, inner, 3, stride, groups=groups, dilation=dilation)
        self.conv3 = ConvNormAct(inner, out_dim, 1, act=None)
        self.shortcut = shortcut(in_dim, out_dim, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_dim, H, W) -> (B, 4 width, ceil(H / stride), ceil(W / stride))."""
        y = self.conv1(x)  # (B, inner, H, W)
        y = self.conv2(y)  # (B, inner, H / stride, W / stride)
        y = self.conv3(y)  # (B, 4 width, H / stride, W / stride)
        y += self.shortcut(x)
        return F.relu(y, inplace=True)


def shortcut(in_dim: int, out_dim: int, stride: int) -> nn.Module:
    """The identity, or a strided 1x1 convolution where the shape changes (option B of the paper)."""
    return nn.Identity() if stride == 1 and in_dim == out_dim else ConvNormAct(in_dim, out_dim, 1, stride, act=None)


class ResNet(Classifier):
    """Stem, four stages of residual blocks, linear classifier.

    Args:
        depths: blocks in each of the four stages.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        width: channels of the first stage, in a block; each further stage has twice as many.
        bottleneck: bottlenecks, or else basic blocks.
        groups: of the bottleneck's 3x3 convolution.
        base_width: of the bottleneck's 3x3 convolution.
        deep_stem: three 3x3 convolutions in the place of the 7x7.
        output_stride: 32, or for segmentation 16 or 8: the last stages then keep the size of the map, and dilate their
            3x3 convolutions in the place of their strides (chen2017rethinking). Bottlenecks only.
        dropout: probability with which a pooled feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range; groups, another base width or
            another output stride for basic blocks.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        width: int = 64,
        bottleneck: bool = True,
        groups: int = 1,
        base_width: int = 64,
        deep_stem: bool = False,
        output_stride: int = 32,
        dropout: float = 0.0,
    ):
        check_positive("ResNet", depths=min(depths), width=width, groups=groups, base_width=base_width)
        if output_stride not in (8, 16, 32):
            raise ValueError(f"ResNet: output_stride must be 8, 16 or 32; got {output_stride}")
        if bottleneck:
            block = partial(Bottleneck, groups=groups, base_width=base_width)
        elif (groups, base_width, output_stride) == (1, 64, 32):
            block = BasicBlock
        else:
            raise ValueError(
                "ResNet: a basic block has no groups, no base_width and no dilation; got groups="
                f"{groups}, base_width={base_width}, output_stride={output_stride}: take a network of bottlenecks"
            )
        expansion = Bottleneck.expansion if bottleneck else BasicBlock.expansion
        super().__init__(in_chans, num_features=8 * width * expansion, dropout=dropout)
        widths = (width, 2 * width, 4 * width, 8 * width)
        self.pyramid_channels = tuple(inner * expansion for inner in widths)

        self.stem = (
            nn.Sequential(ConvNormAct(in_chans, 32, 3, 2), ConvNormAct(32, 32, 3), ConvNormAct(32, width, 3))
            if deep_stem
            else ConvNormAct(in_chans, width, 7, 2)
        )
        self.pool = nn.MaxPool2d(3, 2, padding=1)

        def stage(index: int, stride: int, dilations: tuple[int, int] = (1, 1)):
            in_dim, dim = self.pyramid_channels[index - 1] if index else width, self.pyramid_channels[index]
            first, others = ({} if dilation == 1 else {"dilation": dilation} for dilation in dilations)
            blocks = [block(in_dim, widths[index], stride, **first)]
            blocks += [block(dim, widths[index], **others) for _ in range(depths[index] - 1)]
            return nn.Sequential(*blocks)

        # A stage that keeps the size of the map starts with the taps as far apart as the stage before it had them.
        stride3, stride4 = (2 if output_stride >= stride else 1 for stride in (16, 32))
        apart3, apart4 = 2 // stride3, 4 // (stride3 * stride4)
        self.layer1 = stage(0, stride=1)
        self.layer2 = stage(1, stride=2)
        self.layer3 = stage(2, stride3, (1, apart3))
        self.layer4 = stage(3, stride4, (apart3, apart4))
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32 (or as ``output_stride`` says): (B, C_i, H_i, W_i).

        C_i is ``pyramid_channels[i]``.
        """
        self.check_input(x)
        x = self.pool(self.stem(x))  # (B, 64, H / 4, W / 4)
        c2 = self.layer1(x)  # (B, 64 e, H / 4, W / 4)
        c3 = self.layer2(c2)  # (B, 128 e, H / 8, W / 8)
        c4 = self.layer3(c3)  # (B, 256 e, H / 16, W / 16)
        c5 = self.layer4(c4)  # (B, 512 e, H / 32, W / 32)
        return [c2, c3, c4, c5]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]


basic = partial(ResNet, bottleneck=False)
bottleneck = partial(ResNet, bottleneck=True)

MODELS = {
    "resnet18": partial(basic, (2, 2, 2, 2)),
    "resnet34": partial(basic, (3, 4, 6, 3)),
    "resnet50": partial(bottleneck, (3, 4, 6, 3)),
    "resnet101": partial(bottleneck, (3, 4, 23, 3)),
    "resnet152": partial(bottleneck, (3, 8, 36, 3)),
    "resnext50_32x4d": partial(bottleneck, (3, 4, 6, 3), groups=32, base_width=4),
    "wide_resnet50_2": partial(bottleneck, (3, 4, 6, 3), base_width=128),
    "resnet50_deep_stem": partial(bottleneck, (3, 4, 6, 3), deep_stem=True),
}
REFERENCES = {
    "resnet18": ("torchvision:resnet18", "timm:resnet18"),
    "resnet34": ("torchvision:resnet34", "timm:resnet34"),
    "resnet50": ("torchvision:resnet50", "timm:resnet50"),
    "resnet101": ("torchvision:resnet101", "timm:resnet101"),
    "resnet152": ("torchvision:resnet152", "timm:resnet152"),
    "resnext50_32x4d": ("torchvision:resnext50_32x4d", "timm:resnext50_32x4d"),
    "wide_resnet50_2": ("torchvision:wide_resnet50_2", "timm:wide_resnet50_2"),
    "resnet50_deep_stem": ("timm:resnet50c",),
}
