"""Defects of copies, and of official code, of ECA, FcaNet, SimAM, GAM and shuffle attention."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.blocks.eca import adaptive_kernel_size
from stitchwork.blocks.fca import TOP, cosine
from stitchwork.blocks.shuffle_attention import ShuffleAttention
from stitchwork.errata.erratum import Erratum
from stitchwork.errata.measures import distance_from_published, noise, not_finite_at_one_pixel, tensors_left_behind


class FixedECA(nn.Module):
    """ECA with a kernel of three for any number of channels, and a bias."""

    def __init__(self, bias: bool = True):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        z = F.adaptive_avg_pool2d(x, 1).flatten(2).transpose(1, 2)  # (B, 1, C)
        return x * torch.sigmoid(self.conv(z)).transpose(1, 2)[..., None]


def missing_neighbours(module: nn.Module, channels: int = 256) -> float:
    """How many channels too few decide on the middle one, by the paper's formula."""
    x = noise(1, channels, 4, 4).requires_grad_()
    gate = (module.double().eval()(x) / x.detach())[0, channels // 2].mean()
    (gradient,) = torch.autograd.grad(gate, x)
    heard = (gradient[0].abs().amax((1, 2)) > 1e-12).sum().item()
    return adaptive_kernel_size(channels) - heard


class StrayFilterFca(nn.Module):
    """FcaNet whose filter is a plain attribute, and on whose grid the frequencies may coincide."""

    def __init__(self, dim: int = 64, side: int = 14, is_buffer: bool = False):
        super().__init__()
        filters = torch.stack(
            [torch.outer(cosine(u * (side // 7), side), cosine(v * (side // 7), side)) for u, v in TOP[:16]]
        )
        filters = filters.float().repeat_interleave(dim // 16, 0)  # (C, h, w)
        if is_buffer:
            self.register_buffer("filters", filters)
        else:
            self.filters = filters
        self.gate = nn.Sequential(
            nn.Linear(dim, dim // 16, bias=False), nn.ReLU(), nn.Linear(dim // 16, dim, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        z = (F.adaptive_avg_pool2d(x, self.filters.shape[1:]) * self.filters).sum((2, 3))
        return x * self.gate(z)[..., None, None]


@torch.no_grad()
def blindness_to_stripes(module: nn.Module, channels: int = 64, side: int = 14) -> float:
    """The share of the channels whose gate is the same for upright and for lying stripes, both of mean zero."""
    stripes = cosine(2, side).expand(1, channels, side, side)
    module = module.double().eval()
    upright, lying = ((module(x) / x)[0, :, 0, 0] for x in (stripes, stripes.transpose(2, 3)))
    return ((upright - lying).abs() < 1e-6).double().mean().item()


class UngatedGAM(nn.Module):
    """GAM that multiplies by the bare output of its perceptron."""

    def __init__(self, dim: int = 64, hidden: int = 16):
        super().__init__()
        self.channel = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.spatial = nn.Sequential(
            nn.Conv2d(dim, hidden, 7, padding=3),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, dim, 7, padding=3),
            nn.BatchNorm2d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = x * self.channel(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x * torch.sigmoid(self.spatial(x))


class DividingSimAM(nn.Module):
    """SimAM that divides by the number of the other pixels, which may be none."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        others = x.shape[2] * x.shape[3] - 1
        distance = (x - x.mean((2, 3), keepdim=True)).pow(2)
        variance = distance.sum((2, 3), keepdim=True) / others
        return x * torch.sigmoid(distance / (4 * (variance + 1e-4)) + 0.5)


class ViewingShuffleAttention(ShuffleAttention):
    """Shuffle attention that takes a view of its input, as if an image were stored in one order only."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        batch, _, height, width = x.shape
        x.view(batch * self.groups, -1, height, width)
        return super().forward(x)


@torch.no_grad()
def difference_in_channels_last(module: nn.Module, channels: int = 64) -> float:
    """How far the output for a channels-last image is from that for the same image; infinity if that fails."""
    module, x = module.double().eval(), noise(2, channels, 14, 14)
    try:
        return (module(x.contiguous(memory_format=torch.channels_last)) - module(x)).abs().max().item()
    except RuntimeError:
        return math.inf


ERRATA = [
    Erratum(
        key="eca_with_bias",
        block="eca",
        found_in="popular copies",
        text="The convolution over the channels keeps its bias. The official code has none, so official weights do not "
        "fit: there is a fourth number, by which all gates are shifted alike.",
        wrong=FixedECA,
        measure=distance_from_published("eca"),
        meaning="distance of the fingerprint from that of the official code",
        recorded="popular_copy",
    ),
    Erratum(
        key="eca_fixed_kernel",
        block="eca",
        found_in="popular copies",
        text="The text praises a kernel whose size adapts to the number of channels; the code has 3, whatever that "
        "number is. From 128 channels on the paper's formula gives 5, from 2048 on 7.",
        wrong=lambda: FixedECA(bias=False),
        measure=missing_neighbours,
        meaning="neighbours that a channel's gate should hear and does not, at 256 channels",
        dim=256,
    ),
    Erratum(
        key="fca_filter_left_behind",
        block="fca",
        found_in="popular copies",
        text="The DCT filter is a plain attribute and no buffer: it stays on the CPU when the module moves to a GPU, "
        "where the first forward pass fails, and it is missing from the saved state.",
        wrong=StrayFilterFca,
        measure=tensors_left_behind,
        meaning="tensors that stay behind when the module moves to another device",
    ),
    Erratum(
        key="fca_all_frequencies_zero",
        block="fca",
        found_in="the official code",
        text="Frequencies are multiplied by the integer quotient of the grid's size and 7. On a grid of fewer than 7 "
        "pixels that is 0, every group of channels gets the frequency (0, 0), and FcaNet is Squeeze-and-Excitation "
        "without a word of warning: it no longer tells stripes of mean zero from each other. Ours refuses such grids.",
        wrong=lambda: StrayFilterFca(side=5, is_buffer=True),
        measure=blindness_to_stripes,
        meaning="share of the gates that are the same for upright and for lying stripes",
    ),
    Erratum(
        key="gam_without_sigmoid",
        block="gam",
        found_in="popular copies",
        text="The channel gate has no sigmoid: the image is multiplied by the bare output of the perceptron, which may "
        "be negative or large. Nothing fails, the network trains, and it is another function.",
        wrong=UngatedGAM,
        measure=distance_from_published("gam"),
        meaning="distance of the fingerprint from that of the paper's figures",
        recorded="without_sigmoid",
    ),
    Erratum(
        key="shuffle_attention_view",
        block="shuffle_attention",
        found_in="popular copies",
        text="The groups are made by `view`, which only a contiguous image allows: with channels-last memory, which is "
        "the faster one for convolutions on most hardware, the module fails.",
        wrong=lambda: ViewingShuffleAttention(64),
        measure=difference_in_channels_last,
        meaning="difference of the outputs for one image in two memory layouts (infinite: it fails)",
    ),
    Erratum(
        key="simam_nan_at_one_pixel",
        block="simam",
        found_in="the official code",
        text="The variance divides by the number of the other pixels, HW − 1. Where the feature map is a single pixel "
        "that is 0 / 0, and one NaN is enough to spoil all that follows. Ours takes the variance of one pixel for 0.",
        wrong=DividingSimAM,
        measure=not_finite_at_one_pixel,
        meaning="share of the output that is not finite where the image is a single pixel",
    ),
]
