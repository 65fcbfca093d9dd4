"""SCConv: fold what is redundant in space and in the channels onto what is not.

Paper: li2023scconv, sections 3.1 and 3.2; a drop-in for a 3 x 3 convolution, in two units.

SRU, the spatial one. Group normalisation learns a scale g for each channel; a channel with a large share of the scales
has much to say, and where such a channel is far from its mean, so has the pixel:

    s = sigmoid(GN(x) g / sum of g)                                      eq. 2, 3
    x1 = x where s > 1/2, else s x;   x2 = 0 where s > 1/2, else s x     eq. 3: informative, and less so
    x_w = [x1_front + x2_back; x1_back + x2_front]                       eq. 4, the halves of the channels crossed

CRU, the channel one. Half of the channels (a share alpha) get a rich transformation, the others a cheap one, both
behind a 1 x 1 convolution that squeezes them by r, and the pooled results settle which counts, channel by channel:

    y1 = GWC(squeeze(front)) + PWC(squeeze(front))                       eq. 5,  GWC: 3 x 3 in 2 groups, PWC: 1 x 1
    y2 = [PWC(squeeze(back)); squeeze(back)]                             eq. 6
    b1, b2 = softmax over the two of their means over the pixels         eq. 7, 8
    y = b1 y1 + b2 y2                                                    eq. 9

Cost, with alpha = 1/2, r = 2, k = 3 and 2 groups: 1.125 C^2 + 0.25 C^2 + 0.1875 C^2 + 0.25 C^2 + 3 C parameters (GWC,
PWC, PWC, the two squeezes, biases and normalisation), about a fifth of a 3 x 3 convolution, and as many multiply-adds a
pixel.
Growth: N^1

Where this differs: the authors released no code; the layers are those of the widely used version (group normalisation
in 4 groups, a bias in GWC alone), the equations the paper's. That version takes one softmax over all 2 C means in the
place of C softmaxes over two, which makes the output tens of times too small. An older version of it puts hard masks on
the normalised x in the place of x, and draws g from a normal distribution, so that the sum in eq. 2 may be next to
zero. Whether s > 1/2 is decided in front of the sigmoid: behind it, half precision rounds what is near 1/2 to 1/2.
"""

import math

import torch
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive

PAPER = "li2023scconv"
CHAPTER = "09_kernels_that_look_elsewhere"


class SpatialReconstruction(nn.Module):
    """SRU: pixels that say little in their channel are added to the channel half the channels away.

    Args:
        dim: channels C, a multiple of ``num_groups`` and of 2.
        num_groups: of the group normalisation.
        gate_threshold: a pixel whose gate is above it is informative.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, num_groups: int = 4, gate_threshold: float = 0.5):
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, dim)
        self.gate = nn.Sigmoid()
        self.logit_threshold = math.log(gate_threshold / (1 - gate_threshold))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        share = self.norm.weight / self.norm.weight.sum()  # (C,)
        logits = self.norm(x) * share[:, None, None]
        informative = logits > self.logit_threshold
        dimmed = x * self.gate(logits)
        loud = torch.where(informative, x, dimmed)
        quiet = torch.where(informative, 0, dimmed)
        return loud + quiet.roll(x.shape[1] // 2, 1)


class ChannelReconstruction(nn.Module):
    """CRU: a rich and a cheap transformation of two parts of the channels, weighed against each other.

    Args:
        dim: channels C.
        alpha: share of the channels that gets the rich transformation.
        squeeze_ratio: r, how much narrower the 1 x 1 convolutions in front make both parts.
        groups: of the k x k convolution.
        kernel_size: k; odd.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, alpha: float = 0.5, squeeze_ratio: int = 2, groups: int = 2, kernel_size: int = 3):
        super().__init__()
        front = int(alpha * dim)
        back = dim - front
        rich, cheap = front // squeeze_ratio, back // squeeze_ratio
        self.parts = [front, back]
        self.squeeze_front = nn.Conv2d(front, rich, 1, bias=False)
        self.squeeze_back = nn.Conv2d(back, cheap, 1, bias=False)
        self.group_wise = nn.Conv2d(rich, dim, kernel_size, padding=kernel_size // 2, groups=groups)
        self.point_wise = nn.Conv2d(rich, dim, 1, bias=False)
        self.point_wise_cheap = nn.Conv2d(cheap, dim - cheap, 1, bias=False)
        self.gate = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        front, back = x.split(self.parts, 1)
        front, back = self.squeeze_front(front), self.squeeze_back(back)
        rich = self.group_wise(front) + self.point_wise(front)  # (B, C, H, W)
        cheap = torch.cat([self.point_wise_cheap(back), back], 1)  # (B, C, H, W)
        means = torch.stack([rich.mean((2, 3)), cheap.mean((2, 3))], 1)  # (B, 2, C)
        of_rich, of_cheap = self.gate(means)[..., None, None].unbind(1)  # (B, C, 1, 1) each
        return of_rich * rich + of_cheap * cheap


class SCConv(nn.Module):
    """Spatial, then channel reconstruction.

    Args:
        dim: channels C, a multiple of ``num_groups`` and of 2.
        num_groups: of the group normalisation.
        gate_threshold: above it a pixel counts as informative; between 0 and 1.
        alpha: share of the channels that gets the rich transformation; between 0 and 1.
        squeeze_ratio: r of both transformations.
        groups: of the k x k convolution; it must divide ``dim`` and the squeezed rich channels.
        kernel_size: k; odd.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is out of range; ``dim`` does not divide.
    """

    def __init__(
        self,
        dim: int,
        num_groups: int = 4,
        gate_threshold: float = 0.5,
        alpha: float = 0.5,
        squeeze_ratio: int = 2,
        groups: int = 2,
        kernel_size: int = 3,
    ):
        super().__init__()
        check_positive("SCConv", dim=dim, num_groups=num_groups, gate_threshold=gate_threshold, alpha=alpha)
        check_positive("SCConv", squeeze_ratio=squeeze_ratio, groups=groups, kernel_size=kernel_size)
        if gate_threshold >= 1 or alpha >= 1:
            raise ValueError(f"SCConv: gate_threshold and alpha must be less than 1; got {gate_threshold} and {alpha}")
        if kernel_size % 2 == 0:
            raise ValueError(f"SCConv: kernel_size must be odd to keep the size; got {kernel_size}")
        check_multiple("SCConv", dim, num_groups=num_groups, groups=groups, halves=2)
        rich, cheap = (part // squeeze_ratio for part in (int(alpha * dim), dim - int(alpha * dim)))
        if rich % groups or not (rich and cheap):
            raise ValueError(
                f"SCConv: alpha={alpha} and squeeze_ratio={squeeze_ratio} leave {rich} rich and {cheap} cheap channels "
                f"of dim={dim}; there must be at least one of each, and the rich a multiple of groups={groups}"
            )
        self.dim = dim
        self.spatial = SpatialReconstruction(dim, num_groups, gate_threshold)
        self.channel = ChannelReconstruction(dim, alpha, squeeze_ratio, groups, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        check_image(x, self.dim, "SCConv")
        return self.channel(self.spatial(x))


BLOCKS = {"scconv": SCConv}
REFERENCES = {"scconv": ("recorded:scconv",)}
