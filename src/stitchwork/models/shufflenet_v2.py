"""ShuffleNet V2: count what the machine does, not only the multiplications.

Paper: ma2018shufflenetv2, table 5 and figure 3 (c, d). Two networks of equal FLOPs can differ twofold in speed. The
paper measures why, and draws four guidelines: (G1) equal widths in and out need the least memory traffic, (G2) groups
cost traffic, (G3) many small pieces keep a parallel machine waiting, (G4) element-wise operations are not free. The
unit follows them: no groups, no bottleneck, no addition. The channels are split in two; one half passes, the other
meets 1x1, depthwise 3x3, 1x1 of constant width; the halves are put side by side, and a shuffle interleaves them.

    y = shuffle([x_1; f(x_2)]),   f = relu BN W_2 BN dw3x3 relu BN W_1

Where the size is halved there is no split: both branches see all of x, and the first has a depthwise and a 1x1
convolution too.

Cost of a unit that keeps its C channels: HW (C^2 / 2 + 9 C / 2) multiply-adds. At 224 pixels the network of width 1
has 2.3 M parameters and 145 M multiply-adds.

Where this differs: nothing from torchvision, nor from the authors' code up to the order of channels. The half that
passes without being computed is the idea of DenseNet's feature reuse at no cost (section 3).
"""

from functools import partial

import torch
from torch import Tensor, nn

from stitchwork.layers import Classifier, ConvNormAct, check_multiple, check_positive, init_conv_weights

PAPER = "ma2018shufflenetv2"
CHAPTER = "12_mobilenets_and_shufflenets"

REPEATS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """One half of the channels passes, the other is computed; then they are interleaved.

    Args:
        dim: channels C, an even number.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: an odd number of channels.
    """

    def __init__(self, dim: int):
        super().__init__()
        check_multiple("ShuffleUnit", dim, halves=2)
        self.branch = branch(dim // 2, dim // 2, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        passed, y = x.chunk(2, 1)  # (B, C / 2, H, W) each
        return torch.channel_shuffle(torch.cat([passed, self.branch(y)], 1), 2)


class DownsamplingUnit(nn.Module):
    """Two branches that both see all channels and halve the size; then they are interleaved.

    Args:
        dim: channels C.
        out_dim: channels C', an even number.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))

    Raises:
        ValueError: an odd number of channels.
    """

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        check_multiple("DownsamplingUnit", out_dim, halves=2)
        self.shortcut = nn.Sequential(
            ConvNormAct(dim, dim, 3, stride=2, groups=dim, act=None),
            ConvNormAct(dim, out_dim // 2),
        )
        self.branch = branch(dim, out_dim // 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))."""
        return torch.channel_shuffle(torch.cat([self.shortcut(x), self.branch(x)], 1), 2)


def branch(dim: int, out_dim: int, stride: int) -> nn.Sequential:
    """1x1, depthwise 3x3 without an activation, 1x1: (B, C, H, W) -> (B, C', H / stride, W / stride)."""
    return nn.Sequential(
        ConvNormAct(dim, out_dim),
        ConvNormAct(out_dim, out_dim, 3, stride, groups=out_dim, act=None),
        ConvNormAct(out_dim, out_dim),
    )


class ShuffleNetV2(Classifier):
    """Stem, max pooling, three stages of units, a last 1x1 convolution, linear classifier.

    Args:
        widths: channels behind each of the three stages.
        num_features: channels of the last convolution.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a pooled feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range; an odd width.
    """

    def __init__(
        self,
        widths: tuple[int, int, int],
        num_features: int = 1024,
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        dropout: float = 0.0,
    ):
        check_positive("ShuffleNetV2", widths=min(widths), num_features=num_features)
        super().__init__(in_chans, num_features, dropout)
        dim = 24
        self.pyramid_channels = (dim, *widths)

        self.stem = ConvNormAct(in_chans, dim, 3, stride=2)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.stages = nn.ModuleList()
        for out_dim, repeats in zip(widths, REPEATS, strict=True):
            units = [DownsamplingUnit(dim, out_dim), *[ShuffleUnit(out_dim) for _ in range(repeats - 1)]]
            self.stages.append(nn.Sequential(*units))
            dim = out_dim
        self.last = ConvNormAct(dim, num_features)
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        maps = [self.pool(self.stem(x))]  # (B, 24, H / 4, W / 4)
        for stage in self.stages:
            maps.append(stage(maps[-1]))  # (B, C_i, H / 8, ...)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.last(self.forward_pyramid(x)[-1])


MODELS = {
    "shufflenet_v2_x0_5": partial(ShuffleNetV2, widths=(48, 96, 192)),
    "shufflenet_v2_x1_0": partial(ShuffleNetV2, widths=(116, 232, 464)),
    "shufflenet_v2_x1_5": partial(ShuffleNetV2, widths=(176, 352, 704)),
    "shufflenet_v2_x2_0": partial(ShuffleNetV2, widths=(244, 488, 976), num_features=2048),
}
REFERENCES = {name: (f"torchvision:{name}",) for name in MODELS}
