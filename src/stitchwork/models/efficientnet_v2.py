"""EfficientNetV2: an EfficientNet that is fast where it was slow, in its first stages.

Paper: tan2021efficientnetv2, table 4. A depthwise convolution needs few multiply-adds, but moves as much memory as a
dense one: at high resolution, where channels are few, it leaves the hardware idle. There the block's 1x1 expansion and
its depthwise 3x3 become one dense 3x3 (Fused-MBConv); the later stages keep MBConv. Which stage takes which, a search
decided that was rewarded for accuracy, training speed and parameters; it also chose smaller expansions and 3x3 kernels
throughout. The paper's other half is the training: images, dropout and augmentation grow together (progressive
learning).

    Fused-MBConv: y = x + drop_path(BN W_project silu(BN conv3x3(x)))      the sum where stride is 1 and the width stays

Cost: S at 384 pixels 21.5 M parameters and 8.4 G multiply-adds, M at 480 54.1 M and 24.6 G, L 118.5 M and 56.1 G.

Where this differs: nothing from torchvision. Table 4 has S, the official code M and L too; the paper's first version
had 272 and 1792 channels in the last stage and the head, as timm's ``efficientnetv2_rw_s`` still has. The BatchNorm's
eps is 1e-3 as in the official code; timm's ``efficientnetv2_s`` has 1e-5, which ``norm=nn.BatchNorm2d`` gives. The
official code pads as TensorFlow does: for timm's published weights, ``tf_efficientnetv2_s``, that is
``same_padding=True``.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from stitchwork.layers import Classifier, ConvNormAct, DropPath, MBConv, SiLU, drop_path_rates, init_conv_weights

PAPER = "tan2021efficientnetv2"
CHAPTER = "15_training_faster"

official_norm = partial(nn.BatchNorm2d, eps=1e-3)


class FusedMBConv(nn.Module):
    """Expand by a dense 3x3, project linearly by 1x1; with a shortcut where the shape stays.

    With an expansion of 1 the projection is left out, and the block is a 3x3 convolution with its activation.

    Args:
        dim: channels C.
        out_dim: channels C'.
        stride: of the 3x3 convolution.
        expansion: t.
        drop_path: probability with which an image's branch is left out in training.
        norm: builds the normalisation for a number of channels.
        same_padding: pad as TensorFlow does.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        stride: int = 1,
        expansion: int = 4,
        drop_path: float = 0.0,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        same_padding: bool = False,
    ):
        super().__init__()
        self.has_shortcut = stride == 1 and dim == out_dim
        hidden = dim * expansion if expansion > 1 else out_dim
        self.expand = ConvNormAct(dim, hidden, 3, stride, act=SiLU, norm=norm, same_padding=same_padding)
        self.project = ConvNormAct(hidden, out_dim, act=None, norm=norm) if expansion > 1 else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        y = self.expand(x)  # (B, tC, H / stride, W / stride)
        y = self.project(y)  # (B, C', H / stride, W / stride)
        if self.has_shortcut:
            y = self.drop_path(y)
            y += x
        return y


# Table 4: block, expansion t, channels c, repeats n, stride s of the first; the kernels are 3x3.
SMALL = (
    (FusedMBConv, 1, 24, 2, 1),
    (FusedMBConv, 4, 48, 4, 2),
    (FusedMBConv, 4, 64, 4, 2),
    (MBConv, 4, 128, 6, 2),
    (MBConv, 6, 160, 9, 1),
    (MBConv, 6, 256, 15, 2),
)
MEDIUM = (
    (FusedMBConv, 1, 24, 3, 1),
    (FusedMBConv, 4, 48, 5, 2),
    (FusedMBConv, 4, 80, 5, 2),
    (MBConv, 4, 160, 7, 2),
    (MBConv, 6, 176, 14, 1),
    (MBConv, 6, 304, 18, 2),
    (MBConv, 6, 512, 5, 1),
)
LARGE = (
    (FusedMBConv, 1, 32, 4, 1),
    (FusedMBConv, 4, 64, 7, 2),
    (FusedMBConv, 4, 96, 7, 2),
    (MBConv, 4, 192, 10, 2),
    (MBConv, 6, 224, 19, 1),
    (MBConv, 6, 384, 25, 2),
    (MBConv, 6, 640, 7, 1),
)


class EfficientNetV2(Classifier):
    """Classifier of Fused-MBConv stages and then MBConv stages.

    Args:
        stages: for each stage the block, its expansion, channels, repeats and the stride of the first.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a pooled feature is dropped in training.
        drop_path_rate: stochastic depth; the i-th of n blocks is left out with i / n of it. The paper trains with 0.2.
        norm: builds the normalisation for a number of channels.
        same_padding: pad as TensorFlow does, for weights that were trained so.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        stages: tuple = SMALL,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.2,
        drop_path_rate: float = 0.0,
        norm: Callable[[int], nn.Module] = official_norm,
        same_padding: bool = False,
    ):
        super().__init__(in_chans, num_features=1280, dropout=dropout)
        depths = [repeats for _, _, _, repeats, _ in stages]
        # The official code counts as though one more block followed: the last one's rate falls short of the whole.
        rates = drop_path_rates(drop_path_rate, (*depths, 1))[:-1]
        common = {"norm": norm, "same_padding": same_padding}

        dim = stages[0][2]
        self.stem = ConvNormAct(in_chans, dim, 3, 2, act=SiLU, **common)
        self.stages = nn.ModuleList()
        for (block, expansion, out_dim, _, stride), stage_rates in zip(stages, rates):
            stage = nn.Sequential()
            for rate in stage_rates:
                stage.append(block(dim, out_dim, stride=stride, expansion=expansion, drop_path=rate, **common))
                dim, stride = out_dim, 1
            self.stages.append(stage)
        self.last = ConvNormAct(dim, self.num_features, act=SiLU, norm=norm)
        # The last stage of each of the strides 4, 8, 16 and 32.
        self.pyramid_stages = (1, 2, 4, len(stages) - 1)
        self.pyramid_channels = tuple(stages[i][2] for i in self.pyramid_stages)
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stem(x)  # (B, 24, H / 2, W / 2)
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
    "efficientnet_v2_s": partial(EfficientNetV2, SMALL, dropout=0.2),
    "efficientnet_v2_m": partial(EfficientNetV2, MEDIUM, dropout=0.3),
    "efficientnet_v2_l": partial(EfficientNetV2, LARGE, dropout=0.4),
}
REFERENCES = {
    "efficientnet_v2_s": ("torchvision:efficientnet_v2_s",),
    "efficientnet_v2_m": ("torchvision:efficientnet_v2_m",),
    "efficientnet_v2_l": ("torchvision:efficientnet_v2_l",),
}
