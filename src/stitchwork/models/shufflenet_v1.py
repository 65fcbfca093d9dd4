"""ShuffleNet: make the 1x1 convolutions cheap by groups, and shuffle the channels so that the groups meet.

Paper: zhang2018shufflenet, table 1 and figure 2. In a small network nearly all of the arithmetic is in the 1x1
convolutions. With g groups they cost a g-th part, so that the same budget buys wider maps; but each group then sees its
own channels for ever. A shuffle between two grouped convolutions, which reorders and computes nothing, hands every
group channels of all the others.

    f(x) = BN(W_2 shuffle(BN(dw3x3(relu(BN(W_1 x))))))         W_1, W_2 of g groups, C' / 4 channels between them
    y = relu(x + f(x)),   and where the size is halved   y = [avgpool3x3(x); relu(f(x))]

Cost of a unit that keeps its C channels: HW (C^2 / (2 g) + 9 C / 4) multiply-adds. At 224 pixels the network of
width 1 and 3 groups has 1.9 M parameters and 137 M multiply-adds.

Where this differs: the authors' code shuffles behind the depthwise convolution, the paper (figure 2) in front of it.
The two are one function, since a depthwise convolution treats all channels alike, if the depthwise weights are
reordered too. Theirs is also the inverse of the shuffle that the paper describes: position i g + j goes to j C / g + i
here, and the other way round there. Either hands channels around. Their very first 1x1 convolution is not grouped,
its input having 24 channels (the paper says so), and the classifier has no bias. All of it is as in their code.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import Classifier, ConvNormAct, check_multiple, check_positive, init_conv_weights

PAPER = "zhang2018shufflenet"
CHAPTER = "12_mobilenets_and_shufflenets"

REPEATS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """Grouped 1x1, depthwise 3x3, channel shuffle, grouped 1x1; added to the input, or beside it if that is halved.

    Args:
        dim: channels C.
        out_dim: channels C'; at stride 1 as many as come in.
        stride: 1, or 2 to halve the size, where the pooled input provides the first C of the channels.
        groups: g of the two 1x1 convolutions.
        first_groups: groups of the first one, where they are not g.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))

    Raises:
        ValueError: a channel count that the groups do not divide, or that the stride does not allow.
    """

    def __init__(self, dim: int, out_dim: int, stride: int = 1, groups: int = 3, first_groups: int | None = None):
        super().__init__()
        if (stride == 1) != (dim == out_dim) or out_dim < dim:
            raise ValueError(
                f"ShuffleUnit: at stride 1 out_dim must be dim, at stride 2 larger; got {dim}, {out_dim}, {stride=}"
            )
        hidden, branch_dim = out_dim // 4, out_dim if stride == 1 else out_dim - dim
        check_multiple("ShuffleUnit", hidden, groups=groups)
        check_multiple("ShuffleUnit", branch_dim, groups=groups)
        self.reduce = ConvNormAct(dim, hidden, groups=first_groups or groups)
        self.depthwise = ConvNormAct(hidden, hidden, 3, stride, groups=hidden, act=None)
        self.shuffle = nn.ChannelShuffle(hidden // groups)
        self.expand = ConvNormAct(hidden, branch_dim, groups=groups, act=None)
        self.pool = nn.AvgPool2d(3, 2, padding=1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        y = self.reduce(x)  # (B, C' / 4, H, W)
        y = self.depthwise(y)  # (B, C' / 4, H / stride, W / stride)
        y = self.expand(self.shuffle(y))  # (B, C' or C' - C, H / stride, W / stride)
        if self.pool is None:
            return F.relu_(y.add_(x))
        return torch.cat([self.pool(x), F.relu_(y)], 1)  # (B, C', H / 2, W / 2)


class ShuffleNetV1(Classifier):
    """Stem, max pooling, three stages of shuffle units, linear classifier.

    Args:
        widths: channels behind the stem and behind each of the three stages.
        groups: g of the 1x1 convolutions.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a pooled feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range, or widths and groups that do
            not fit.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int],
        groups: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        dropout: float = 0.0,
    ):
        check_positive("ShuffleNetV1", widths=min(widths), groups=groups)
        super().__init__(in_chans, widths[-1], dropout)
        self.pyramid_channels = tuple(widths)

        dim = widths[0]
        self.stem = ConvNormAct(in_chans, dim, 3, stride=2)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.stages = nn.ModuleList()
        for index, (out_dim, repeats) in enumerate(zip(widths[1:], REPEATS, strict=True)):
            units = [ShuffleUnit(dim, out_dim, 2, groups, first_groups=1 if index == 0 else None)]
            units += [ShuffleUnit(out_dim, out_dim, 1, groups) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(*units))
            dim = out_dim
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def reset_head(self, num_classes: int) -> None:
        """Put a fresh linear classifier, without bias, on the pooled features, or none if ``num_classes`` is 0."""
        super().reset_head(num_classes)
        if num_classes:
            self.head = nn.Linear(self.head_features, num_classes, bias=False)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        maps = [self.pool(self.stem(x))]  # (B, 24, H / 4, W / 4)
        for stage in self.stages:
            maps.append(stage(maps[-1]))  # (B, C_i, H / 8, ...)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]


# Table 1, with the widths of the authors' code. The stem is scaled as well, as far as its groups allow.
MODELS = {
    "shufflenet_v1_x0_5_g3": partial(ShuffleNetV1, widths=(12, 120, 240, 480), groups=3),
    "shufflenet_v1_x1_0_g3": partial(ShuffleNetV1, widths=(24, 240, 480, 960), groups=3),
    "shufflenet_v1_x1_5_g3": partial(ShuffleNetV1, widths=(24, 360, 720, 1440), groups=3),
    "shufflenet_v1_x2_0_g3": partial(ShuffleNetV1, widths=(48, 480, 960, 1920), groups=3),
    "shufflenet_v1_x0_5_g8": partial(ShuffleNetV1, widths=(16, 192, 384, 768), groups=8),
    "shufflenet_v1_x1_0_g8": partial(ShuffleNetV1, widths=(24, 384, 768, 1536), groups=8),
    "shufflenet_v1_x1_5_g8": partial(ShuffleNetV1, widths=(24, 576, 1152, 2304), groups=8),
    "shufflenet_v1_x2_0_g8": partial(ShuffleNetV1, widths=(48, 768, 1536, 3072), groups=8),
}
# The smallest is proved equal to the authors' code; the others are the same class with other numbers.
REFERENCES = {name: (f"counted:{name}",) for name in MODELS} | {
    "shufflenet_v1_x0_5_g3": ("recorded:shufflenet_v1_x0_5_g3",)
}
