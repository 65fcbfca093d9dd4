"""EfficientNet: make a network larger in depth, width and resolution at once, by one rule.

Paper: tan2019efficientnet, tables 1 and 2. Each of the three alone soon stops helping: deeper layers see an image too
small for them, wider ones lack the depth to combine what they find, larger images need layers that can span them. So a
small network is found first (B0, by a search), and all three grow together with one number phi (equation 3):

    depth x alpha^phi,  width x beta^phi,  resolution x gamma^phi    with alpha beta^2 gamma^2 ~ 2

Depth costs linearly, width and resolution quadratically, so that the multiply-adds grow as 2^phi; on B0 a grid search
gave alpha = 1.2, beta = 1.1, gamma = 1.15. Widths are rounded to multiples of 8 (never more than 10 % down), the number
of blocks in a stage is rounded up, and stem and head grow in width only. :mod:`stitchwork.scaling` has the rule itself.

Cost: B0 at 224 pixels 5.3 M parameters and 386 M multiply-adds; B7 at 600 pixels 66 M and 37.7 G.

Where this differs: the released multipliers are rounded, and not exactly powers of the three numbers. The BatchNorms
are torchvision's: eps 1e-5 in B0 to B4, as in timm, and 1e-3 with momentum 0.01 in B5 to B7, as in the official code,
which has these for all; timm has 1e-5 for all, so its weights for B5 are right with ``norm=nn.BatchNorm2d``. The
official code pads as TensorFlow does: for timm's ``tf_`` weights take ``same_padding=True`` and
``norm=partial(nn.BatchNorm2d, eps=1e-3)``. torchvision makes the head four times as wide as the last stage, the
official code scales and rounds 1280 on its own, as here: the same for B0 to B7, not for every multiplier.
"""

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    MBConv,
    SiLU,
    check_positive,
    drop_path_rates,
    init_conv_weights,
    make_divisible,
)

PAPER = "tan2019efficientnet"
CHAPTER = "14_compound_scaling"

# Table 1: expansion t, kernel k, channels c, repeats n, stride s of the first.
STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)


class EfficientNet(Classifier):
    """Classifier of seven stages of MBConv blocks, whose depth and width scale.

    Args:
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        width_multiplier: scales every channel count, rounded to multiples of 8.
        depth_multiplier: scales the number of blocks in every stage, rounded up.
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
        num_classes: int = 1000,
        in_chans: int = 3,
        width_multiplier: float = 1.0,
        depth_multiplier: float = 1.0,
        dropout: float = 0.2,
        drop_path_rate: float = 0.0,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        same_padding: bool = False,
    ):
        check_positive("EfficientNet", width_multiplier=width_multiplier, depth_multiplier=depth_multiplier)
        num_features = make_divisible(1280 * width_multiplier)
        super().__init__(in_chans, num_features, dropout)
        widths = [make_divisible(c * width_multiplier) for _, _, c, _, _ in STAGES]
        depths = [math.ceil(n * depth_multiplier) for _, _, _, n, _ in STAGES]
        # The official code counts as though one more block followed: the last one's rate falls short of the whole.
        rates = drop_path_rates(drop_path_rate, (*depths, 1))[:-1]

        dim = make_divisible(32 * width_multiplier)
        self.stem = ConvNormAct(in_chans, dim, 3, 2, act=SiLU, norm=norm, same_padding=same_padding)
        self.stages = nn.ModuleList()
        for (expansion, kernel_size, _, _, stride), out_dim, stage_rates in zip(STAGES, widths, rates):
            stage = nn.Sequential()
            for rate in stage_rates:
                stage.append(MBConv(dim, out_dim, kernel_size, stride, expansion, rate, norm, same_padding))
                dim, stride = out_dim, 1
            self.stages.append(stage)
        self.last = ConvNormAct(dim, num_features, act=SiLU, norm=norm)
        # The last stage of each of the strides 4, 8, 16 and 32.
        self.pyramid_stages = (1, 2, 4, 6)
        self.pyramid_channels = tuple(widths[i] for i in self.pyramid_stages)
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stem(x)  # (B, 32 w, H / 2, W / 2)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.pyramid_stages:
                maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.last(self.forward_pyramid(x)[-1])


# The official code's BatchNorm, whose momentum of 0.99 is 0.01 in PyTorch's count.
official_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


def scaled(width: float, depth: float, dropout: float, norm: Callable[[int], nn.Module] = nn.BatchNorm2d):
    """What builds the network at these multipliers."""
    return partial(EfficientNet, width_multiplier=width, depth_multiplier=depth, dropout=dropout, norm=norm)


MODELS = {
    "efficientnet_b0": scaled(1.0, 1.0, dropout=0.2),
    "efficientnet_b1": scaled(1.0, 1.1, dropout=0.2),
    "efficientnet_b2": scaled(1.1, 1.2, dropout=0.3),
    "efficientnet_b3": scaled(1.2, 1.4, dropout=0.3),
    "efficientnet_b4": scaled(1.4, 1.8, dropout=0.4),
    "efficientnet_b5": scaled(1.6, 2.2, dropout=0.4, norm=official_norm),
    "efficientnet_b6": scaled(1.8, 2.6, dropout=0.5, norm=official_norm),
    "efficientnet_b7": scaled(2.0, 3.1, dropout=0.5, norm=official_norm),
}
REFERENCES = {
    "efficientnet_b0": ("torchvision:efficientnet_b0", "timm:efficientnet_b0"),
    "efficientnet_b1": ("torchvision:efficientnet_b1", "timm:efficientnet_b1"),
    "efficientnet_b2": ("torchvision:efficientnet_b2", "timm:efficientnet_b2"),
    "efficientnet_b3": ("torchvision:efficientnet_b3", "timm:efficientnet_b3"),
    "efficientnet_b4": ("torchvision:efficientnet_b4", "timm:efficientnet_b4"),
    "efficientnet_b5": ("torchvision:efficientnet_b5",),
    "efficientnet_b6": ("torchvision:efficientnet_b6",),
    "efficientnet_b7": ("torchvision:efficientnet_b7",),
}
