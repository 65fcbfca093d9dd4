"""Defects of copies of CBAM and of the depthwise separable convolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.errata import Erratum
from stitchwork.errata.measures import distance_from_published


class BareCBAM(nn.Module):
    """CBAM without biases, with the planes the other way round, and without BatchNorm."""

    def __init__(self, dim: int = 64, hidden: int = 4):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, dim, 1, bias=False)
        )
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        mean, peak = F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)
        x = x * torch.sigmoid(self.mlp(mean) + self.mlp(peak))
        planes = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        return x * torch.sigmoid(self.conv(planes))


def leaky_separable(dim: int = 64) -> nn.Module:
    """A separable convolution with biases that BatchNorm takes away again, and leaky ReLU."""

    def step(*arguments, **keywords):
        return nn.Sequential(nn.Conv2d(dim, dim, *arguments, **keywords), nn.BatchNorm2d(dim), nn.LeakyReLU(0.1))

    return nn.Sequential(step(3, padding=1, groups=dim), step(1))


ERRATA = [
    Erratum(
        key="cbam_without_bias_and_norm",
        block="cbam",
        found_in="popular copies",
        text="The copies leave out the biases of the shared MLP and the BatchNorm behind the 7×7 convolution, and "
        "stack the two planes as (mean, max), where the official code has (max, mean). Official weights do not fit "
        "them, and if one forces them in, the planes are swapped without a warning.",
        wrong=BareCBAM,
        measure=distance_from_published("cbam"),
        meaning="distance of the fingerprint from that of the official code",
        recorded="without_bias_and_norm",
    ),
    Erratum(
        key="depthwise_separable_conv_leaky_with_bias",
        block="depthwise_separable_conv",
        found_in="popular copies",
        text="Both convolutions have biases, which the BatchNorm behind them subtracts again: they cost memory and "
        "never learn. And the activation is a leaky ReLU, where the paper has ReLU.",
        wrong=leaky_separable,
        measure=distance_from_published("depthwise_separable_conv"),
        meaning="distance of the fingerprint from that of the paper's figure 3",
        recorded="with_bias_and_leaky_relu",
    ),
]
