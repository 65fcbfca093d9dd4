"""EMA: two views of a group of channels, each of which says what the other's channels are worth.

Paper: ouyang2023ema. The channels are split into g groups, and every group goes through the same small module. One
branch is coordinate attention without a bottleneck, the other a 3 x 3 convolution. Each branch is averaged to a weight
for each channel, by which the channels of the *other* branch are added up; the two sums make one map for the group:

    h, w = sigmoid(W [mean over columns; mean over rows])            W: C/g x C/g, a gate for rows, one for columns
    x1   = GN(h w x)                                                 each channel to mean 0, variance 1, scale, shift
    x2   = conv_3x3(x)
    m    = softmax(mean x1) . x2 + softmax(mean x2) . x1             softmax and products over the C/g channels
    y    = sigmoid(m) x

Cost, with n = C/g channels in a group: 10 n^2 + 4 n parameters, whatever the number of groups, which share them; about
9 n + 2 multiply-adds on each of the BCHW numbers.

Growth: N^1

Where this differs: nothing in the result. The normalisation has just brought the mean of each channel of x1 to its
shift, so that ``softmax(mean x1)`` is the softmax of the shifts: the same for every image, a learnt weight and no
attention. Published code computes it from the image all the same; here it is taken from the shifts. The official
default is 32 groups; popular copies have 8 (``factor=8``). That all groups share their weights is said nowhere.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive

PAPER = "ouyang2023ema"
CHAPTER = "04_where_as_well_as_what"


class EfficientMultiScaleAttention(nn.Module):
    """One spatial gate for each group of channels, from two branches that weigh each other.

    Args:
        dim: channels C, a multiple of ``factor``.
        factor: g, the number of groups.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). With one group B·H·W must be greater than 1, for the GroupNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``factor`` is not positive; ``dim`` is no
            multiple of ``factor``.
    """

    def __init__(self, dim: int, factor: int = 32):
        super().__init__()
        check_positive("EfficientMultiScaleAttention", dim=dim, factor=factor)
        check_multiple("EfficientMultiScaleAttention", dim, factor=factor)
        inner = dim // factor
        self.dim, self.factor = dim, factor
        self.conv1x1 = nn.Conv2d(inner, inner, 1)
        self.axis_gate = nn.Sigmoid()
        self.norm = nn.GroupNorm(inner, inner)
        self.conv3x3 = nn.Conv2d(inner, inner, 3, padding=1)
        self.softmax = nn.Softmax(-1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale the pixels of every group of (B, C, H, W)."""
        check_image(x, self.dim, "EfficientMultiScaleAttention")
        height, width = x.shape[2:]
        x2 = self.shared_conv3x3(x).unflatten(1, (self.factor, -1)).flatten(0, 1)  # (B g, n, H, W)
        x = x.unflatten(1, (self.factor, -1)).flatten(0, 1)  # (B g, n, H, W): groups as so many images

        rows = x.mean(3, keepdim=True)  # (B g, n, H, 1)
        columns = x.mean(2, keepdim=True).transpose(2, 3)  # (B g, n, W, 1)
        gates = self.axis_gate(self.conv1x1(torch.cat([rows, columns], 2)))  # (B g, n, H + W, 1)
        gate_h, gate_w = gates.split([height, width], 2)
        x1 = self.norm(x * gate_h * gate_w.transpose(2, 3))  # (B g, n, H, W)

        weight1 = self.softmax(self.norm.bias)  # (n,): the shift is the mean of x1
        weight2 = self.softmax(x2.mean((2, 3)))[:, None]  # (B g, 1, n)
        logits = weight1 @ x2.flatten(2) + (weight2 @ x1.flatten(2))[:, 0]  # (B g, H W)
        y = x * self.gate(logits).unflatten(1, (1, height, width))  # (B g, n, H, W)
        return y.unflatten(0, (-1, self.factor)).flatten(1, 2)

    def shared_conv3x3(self, x: Tensor) -> Tensor:
        """The 3 x 3 convolution of every group of (B, C, H, W), all with the same kernel.

        One grouped convolution with copies of the kernel is faster than one of g times as many images.
        """
        weight, bias = self.conv3x3.weight, self.conv3x3.bias
        return F.conv2d(x, weight.repeat(self.factor, 1, 1, 1), bias.repeat(self.factor), padding=1, groups=self.factor)


BLOCKS = {"ema": EfficientMultiScaleAttention}
REFERENCES = {"ema": ("recorded:ema",)}
