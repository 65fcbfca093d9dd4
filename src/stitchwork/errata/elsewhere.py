"""Defects of copies, and of official code, of the convolutions that look elsewhere."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.analysis import gradient_support
from stitchwork.blocks.deformable_conv import DeformableConv
from stitchwork.blocks.partial_conv import PartialConv
from stitchwork.blocks.scconv import ChannelReconstruction, SCConv
from stitchwork.blocks.snake_conv import DynamicSnakeConv
from stitchwork.errata import Erratum
from stitchwork.errata.measures import distance_from_published, leak_between_images, noise, not_finite_at_one_pixel


class PyramidInItsPlace(nn.Module):
    """Branches of several dilations and a mean over the image, added: what is given for a dilated convolution."""

    def __init__(self, dim: int = 64):
        super().__init__()
        self.point = nn.Conv2d(dim, dim, 1)
        self.branches = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=d, dilation=d) for d in (6, 12, 18))
        self.image = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = self.point(x) + self.image(x.mean((2, 3), keepdim=True))
        return y + sum(branch(x) for branch in self.branches)


def pixels_beyond_the_taps(module: nn.Module) -> float:
    """How many more pixels than the nine taps of the kernel reach the centre."""
    return max(0, gradient_support(module, (1, 64, 14, 14)).sum().item() - 9)


class OneSoftmax(ChannelReconstruction):
    """CRU with a softmax over the means of all channels of both branches."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        front, back = x.split(self.parts, 1)
        front, back = self.squeeze_front(front), self.squeeze_back(back)
        both = torch.cat([self.group_wise(front) + self.point_wise(front), self.point_wise_cheap(back), back], 1)
        first, second = (both.mean((2, 3), keepdim=True).softmax(1) * both).chunk(2, 1)
        return first + second


class HardMasks(nn.Module):
    """SRU that passes on the normalised image, masked with 0 or 1, with scales from a normal distribution."""

    def __init__(self, dim: int = 64, num_groups: int = 4):
        super().__init__()
        self.num_groups = num_groups
        self.weight = nn.Parameter(torch.randn(dim, 1, 1))
        self.bias = nn.Parameter(torch.zeros(dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        groups = x.unflatten(1, (self.num_groups, -1)).flatten(2)  # (B, G, ...)
        deviation, mean = torch.std_mean(groups, 2, keepdim=True)
        x = ((groups - mean) / (deviation + 1e-10)).view_as(x) * self.weight + self.bias
        informative = torch.sigmoid(x * self.weight / self.weight.sum()) >= 0.5
        return x * informative + (x * ~informative).roll(x.shape[1] // 2, 1)


def scconv_with(spatial: nn.Module | None = None) -> SCConv:
    """SCConv with one softmax in its second unit, and another first unit."""
    block = SCConv(64)
    block.channel = OneSoftmax(64)
    block.spatial = spatial or block.spatial
    return block


class FixedOrigin(DeformableConv):
    """Starts from the second pixel of the padded image, whatever the padding."""

    def points(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The rows and the columns, (B, H, W, P) each."""
        rows, columns = super().points(x)
        origin = 1 - self.kernel_size // 2  # the second pixel of the padded image, where the first of the image is 0
        return rows + origin, columns + origin


@torch.no_grad()
def distance_from_convolution(module: nn.Module) -> float:
    """How far a deformable convolution whose offsets are zero is from the convolution with its kernel."""
    module, x = module.double().eval(), noise(2, 64, 14, 14)
    expected = F.conv2d(x, module.conv.weight, padding=module.kernel_size // 2)
    return ((module(x) - expected).norm() / expected.norm()).item()


class FirstImageSnake(nn.Module):
    """The first version of the official snake, with all that was corrected later."""

    def __init__(self, dim: int = 64, kernel_size: int = 9):
        super().__init__()
        self.kernel_size = kernel_size
        self.offset = nn.Conv2d(dim, 2 * kernel_size, 3, padding=1)
        self.offset_norm = nn.BatchNorm2d(2 * kernel_size)
        self.conv_x = nn.Conv2d(dim, dim, (kernel_size, 1), stride=(kernel_size, 1))
        self.conv_y = nn.Conv2d(dim, dim, (1, kernel_size), stride=(1, kernel_size))
        self.norm = nn.GroupNorm(dim // 4, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        height, width = x.shape[2:]
        bends = loose_ends(torch.tanh(self.offset_norm(self.offset(x)))[:, : self.kernel_size])  # (B, K, H, W)
        taps = torch.arange(self.kernel_size)[:, None, None] - self.kernel_size // 2
        rows = torch.arange(height)[:, None] + bends
        columns = (torch.arange(width) + taps).expand_as(rows)
        pixels, y = x[0].flatten(1), 0  # of the first image, for all
        for i in (0, 1):
            for j in (0, 1):
                row, column = rows.floor() + i, columns.floor() + j
                index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
                # The distances to the opposite corner, whose clamps allow for one pixel more.
                vertical = (rows.floor() + 1 - i).clamp(0, height) - rows
                horizontal = (columns.floor() + 1 - j).clamp(0, width) - columns
                sign = (-1) ** (i + j)
                y = y + sign * vertical * horizontal * pixels[:, index.long()]  # (C, B, K, H, W)
        y = self.conv_x(y.permute(1, 0, 3, 2, 4).flatten(2, 3))  # (B, C, HK, W) -> (B, C, H, W)
        return F.relu(self.norm(y))


def loose_ends(steps: Tensor) -> Tensor:
    """The steps (B, K, H, W) added up from the centre outwards, but for those of the two ends."""
    centre = steps.shape[1] // 2
    before = steps[:, 1:centre].flip(1).cumsum(1).flip(1)
    after = steps[:, centre + 1 : -1].cumsum(1)
    return torch.cat([steps[:, :1], before, torch.zeros_like(steps[:, :1]), after, steps[:, -1:]], 1)


class LooseEnds(DynamicSnakeConv):
    """A snake whose two end taps move by their own step alone."""

    def bends(self, x: Tensor) -> Tensor:
        """How far each tap is moved across the axis, (B, K, H, W)."""
        steps = self.act_offset(self.offset_norm(self.offset(x)))[:, : self.kernel_size]
        return self.extend_scope * loose_ends(steps)


@torch.no_grad()
def gap_in_the_snake(module: nn.Module) -> float:
    """By how much the largest step from a tap to the next is more than a pixel."""
    bends = module.double().eval().bends(noise(2, 64, 14, 14))
    return max(0.0, bends.diff(dim=1).abs().max().item() - module.extend_scope)


class ScaledSnake(DynamicSnakeConv):
    """A snake that divides its coordinates by the last row and column, to have them between -1 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        height, width = x.shape[2:]
        taps = torch.arange(self.kernel_size)[:, None, None] - self.kernel_size // 2
        rows = (torch.arange(height)[:, None] + self.bends(x)).clamp(0, height - 1)  # (B, K, H, W)
        columns = (torch.arange(width) + taps).clamp(0, width - 1).expand_as(rows)
        grid = torch.stack([2 / (width - 1) * columns - 1, 2 / (height - 1) * rows - 1], 4)  # (B, K, H, W, 2)
        samples = F.grid_sample(x, grid.flatten(1, 2), align_corners=True)  # (B, C, KH, W)
        stretched = samples.unflatten(2, (-1, height)).transpose(2, 3).flatten(2, 3)  # (B, C, HK, W)
        y = F.conv2d(stretched, self.conv_x.weight, self.conv_x.bias, stride=(self.kernel_size, 1))
        return self.act(self.norm(y))


ERRATA = [
    Erratum(
        key="dilated_conv_is_a_pyramid",
        block="dilated_conv",
        found_in="popular copies",
        text="Under the name of the dilated convolution a collection repeats its code of ASPP: several dilations side "
        "by side and a mean over the image. Neither a plain dilated convolution nor the paper's context module is "
        "there, and nothing is said of gridding. One shows by the pixels that reach the centre: nine, or all.",
        wrong=PyramidInItsPlace,
        measure=pixels_beyond_the_taps,
        meaning="pixels beyond the nine taps that reach the centre",
    ),
    Erratum(
        key="partial_conv_of_half_the_channels",
        block="partial_conv",
        found_in="popular copies",
        text="The copies convolve half of the channels, where the paper and its networks convolve a quarter: four "
        "times the parameters and multiply-adds, in a module whose point is to save them.",
        wrong=partial(PartialConv, 64, n_div=2),
        measure=distance_from_published("partial_conv"),
        meaning="distance of the fingerprint from that of the official code",
    ),
    Erratum(
        key="scconv_one_softmax_for_all",
        block="scconv",
        found_in="popular copies",
        text="The two branches are weighed by one softmax over the means of all 2·C channels. Equation 8 is a softmax "
        "over the two branches, channel by channel. With C = 64 the weights are about 1/128 in the place of 1/2, and "
        "the output is tens of times too small.",
        wrong=scconv_with,
        measure=distance_from_published("scconv"),
        meaning="distance of the fingerprint from that of the paper's equations",
        recorded="one_softmax",
    ),
    Erratum(
        key="scconv_masks_the_normalised_image",
        block="scconv",
        found_in="popular copies",
        text="An older version masks the *normalised* image with 0 and 1, where the paper weighs the image itself with "
        "1, the gate, or 0. It also draws the scales of the normalisation from a standard normal distribution: their "
        "sum, by which equation 2 divides, may then be next to zero, and the shares explode. And it has the one "
        "softmax for all channels.",
        wrong=lambda: scconv_with(HardMasks()),
        measure=distance_from_published("scconv"),
        meaning="distance of the fingerprint from that of the paper's equations",
        recorded="popular_copy",
    ),
    Erratum(
        key="deformable_conv_fixed_origin",
        block="deformable_conv",
        found_in="popular copies",
        text="The PyTorch version in widest use counts its pixels from 1, whatever the padding. That is right for "
        "kernels of 3 with padding 1 alone: with a kernel of 5 and padding 2 everything is read one pixel up and to "
        "the left, and with offsets of zero the result is not the convolution. The same file means to slow the "
        "offsets' learning by a hook on the gradient, but the hook returns nothing, which changes nothing.",
        wrong=partial(FixedOrigin, 64, kernel_size=5, modulated=False),
        measure=distance_from_convolution,
        meaning="distance from the plain convolution while all offsets are zero, with a 5×5 kernel",
        arguments=(("kernel_size", 5), ("modulated", False)),
    ),
    Erratum(
        key="snake_conv_reads_the_first_image",
        block="snake_conv",
        found_in="the official code",
        text="In the first version, still the one that is copied, the index of an image's first pixel is added and "
        "subtracted again: all images of a batch read the pixels of the first. Change the second image, and only the "
        "offsets of its snakes notice. That version also normalises the offsets over the batch, and lets its end taps "
        "go; a corrected version followed in the same repository.",
        wrong=FirstImageSnake,
        measure=partial(leak_between_images, changed=0),
        meaning="change of the second output when the first image changes",
        recorded="popular_copy",
    ),
    Erratum(
        key="snake_conv_loses_its_ends",
        block="snake_conv",
        found_in="the official code",
        text="The loop that adds up the steps stops one short (`range(1, center)`), so that the two end taps move by "
        "their own step alone and the snake tears in front of them. With three taps nothing is added up at all: what "
        "remains is a deformable convolution.",
        wrong=partial(LooseEnds, 64),
        measure=gap_in_the_snake,
        meaning="how much further than one pixel a tap is from the next, across the axis",
    ),
    Erratum(
        key="snake_conv_of_one_row",
        block="snake_conv",
        found_in="the official code",
        text="The corrected version brings coordinates to -1..1 by dividing by the height and the width less one: an "
        "image of one row or one column is a division by zero. In pixels there is nothing to divide.",
        wrong=partial(ScaledSnake, 64),
        measure=not_finite_at_one_pixel,
        meaning="share of the output that is not finite for an image of one pixel (infinite: it fails)",
    ),
]
