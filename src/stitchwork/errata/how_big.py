"""Defects of copies, and of official code, of the modules of several scales."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.blocks.aspp import ASPP
from stitchwork.blocks.safm import SAFM
from stitchwork.blocks.selective_kernel import SelectiveKernel
from stitchwork.blocks.split_attention import SplitAttention
from stitchwork.errata import Erratum
from stitchwork.errata.measures import (
    damage_to_the_input,
    distance_from_published,
    failure_at,
    noise,
    not_finite_at_one_pixel,
)


def failure_to_train_on_one_image(module: nn.Module, shape: tuple[int, int, int] = (64, 14, 14)) -> float:
    """0 if a single image goes through in training and the input gets a gradient; infinity if not."""
    x = noise(1, *shape).requires_grad_()
    try:
        module.double().train()(x).sum().backward()
    except ValueError:
        return math.inf
    return 0.0 if x.grad.isfinite().all() and x.grad.any() else math.inf


def hidden_parameters(module: nn.Module) -> float:
    """The number of parameters in plain lists, where neither an optimiser nor ``state_dict`` nor ``.to`` finds them."""
    lists = (value for part in module.modules() for value in vars(part).values() if isinstance(value, list))
    hidden = (item for values in lists for item in values if isinstance(item, nn.Module))
    return float(sum(p.numel() for item in hidden for p in item.parameters()))


def with_strict_norm(block: nn.Module, path: str) -> nn.Module:
    """``block`` with an ordinary BatchNorm behind its pooling."""
    block.set_submodule(path, nn.BatchNorm2d(block.get_submodule(path).num_features))
    return block


# ------------------------------------------------------------------------------------------------------ ASPP


class FiveBranchASPP(ASPP):
    """ASPP whose projection is for five branches, however many rates there are."""

    def __init__(self, dim: int = 64, rates: Sequence[int] = (6, 12)):
        super().__init__(dim, rates)
        self.project.conv = nn.Conv2d(5 * dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        whole = self.whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat([self.point(x), *(branch(x) for branch in self.atrous), whole], 1))


# ---------------------------------------------------------------------------------------------------- ParNet


class RawSkipParNet(nn.Module):
    """The ParNet block with biases in front of the BatchNorms, and none of them on the skip."""

    def __init__(self, dim: int = 64):
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.BatchNorm2d(dim))
        self.point = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim))
        self.excite = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        gate = torch.sigmoid(self.excite(x.mean((2, 3), keepdim=True)))
        return F.silu(self.wide(x) + self.point(x) + x * gate)


# ------------------------------------------------------------------------------------------------------- PSA


class QuarterPSA(nn.Module):
    """PSA that gives each branch a quarter of the input and an SE of its own, and adds the branches up."""

    def __init__(self, dim: int = 64, branches: int = 4, reduction: int = 4):
        super().__init__()
        part = dim // branches
        self.convs = nn.ModuleList(nn.Conv2d(part, part, 2 * i + 3, padding=i + 1) for i in range(branches))
        self.gates = nn.ModuleList(self.gate(part, part // reduction) for _ in range(branches))

    @staticmethod
    def gate(dim: int, hidden: int) -> nn.Module:
        """SE without biases, without the scaling."""
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, hidden, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(hidden, dim, 1, bias=False),
            nn.Sigmoid(),
        )

    def convolve(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, S, C/S, H, W): each quarter of the channels through its own convolution."""
        return torch.stack([conv(part) for conv, part in zip(self.convs, x.chunk(len(self.convs), 1))], 1)

    def weigh(self, x: Tensor) -> Tensor:
        """The branches (B, S, C/S, H, W), each times its softmax weight."""
        maps = self.convolve(x)
        logits = torch.stack([gate(part) for gate, part in zip(self.gates, maps.unbind(1))], 1)
        return maps * torch.softmax(logits, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C/4, H, W)."""
        return self.weigh(x).sum(1)


class OverwritingPSA(QuarterPSA):
    """PSA that stores what its convolutions give in a view of the input."""

    def convolve(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, S, C/S, H, W), in the memory of ``x``."""
        maps = x.view(len(x), len(self.convs), -1, *x.shape[2:])
        for i, conv in enumerate(self.convs):
            maps[:, i] = conv(maps[:, i])
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.weigh(x).flatten(1, 2)


class HiddenPSA(OverwritingPSA):
    """PSA that keeps its layers in plain lists."""

    def __init__(self, dim: int = 64):
        super().__init__(dim)
        convs, gates = list(self.convs), list(self.gates)
        del self.convs, self.gates
        self.convs, self.gates = convs, gates


# ------------------------------------------------------------------------------------------------------ SAFM


class RoundedDownSAFM(SAFM):
    """SAFM that pools to H // 2^i by W // 2^i, be that zero."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        views = []
        for level, part in enumerate(x.chunk(len(self.look), 1)):
            small = F.adaptive_max_pool2d(part, [side // 2**level for side in x.shape[2:]])
            views.append(F.interpolate(self.look[level](small), x.shape[2:]))
        return F.gelu(self.mix(torch.cat(views, 1))) * x


# ------------------------------------------------------------------------- selective kernel, split attention


class DenseSelectiveKernel(nn.Module):
    """Four dense branches, biases everywhere, and a summary that is neither normalised nor cut off at zero."""

    def __init__(self, dim: int = 64, hidden: int = 32, kernel_sizes: Sequence[int] = (1, 3, 5, 7)):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, dim, k, padding=k // 2), nn.BatchNorm2d(dim), nn.ReLU()) for k in kernel_sizes
        )
        self.fuse = nn.Linear(dim, hidden)
        self.select = nn.ModuleList(nn.Linear(hidden, dim) for _ in kernel_sizes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        maps = torch.stack([branch(x) for branch in self.branches], 1)  # (B, M, C, H, W)
        z = self.fuse(maps.sum(1).mean((2, 3)))
        gate = torch.softmax(torch.stack([select(z) for select in self.select], 1), 1)  # (B, M, C)
        return (maps * gate[..., None, None]).sum(1)


def split_attention_without_norm(dim: int = 64) -> nn.Module:
    """Split attention with nothing in the places of its two BatchNorms."""
    block = SplitAttention(dim)
    block.split.norm = nn.Identity()
    block.fuse[1] = nn.Identity()
    return block


ONE_IMAGE = "0 if a single image goes through in training, infinity if it is refused"

ERRATA = [
    Erratum(
        key="aspp_only_three_rates",
        block="aspp",
        found_in="popular copies",
        text="The projection is built for five branches and 256 channels, whatever rates are asked for. With two or "
        "four rates, the layer is built and fails at the first image.",
        wrong=FiveBranchASPP,
        measure=failure_at(1, 64, 14, 14),
        meaning="0 if an image goes through ASPP with two rates, infinity if that fails",
        arguments=(("rates", (6, 12)),),
    ),
    Erratum(
        key="aspp_refuses_one_image",
        block="aspp",
        found_in="popular copies",
        text="The branch with the image's mean has a BatchNorm, which in training needs more than one value in each "
        "channel, and gets as many as there are images: a batch of one, usual with large images, is refused. Ours "
        "normalises a single pooled image with the running statistics.",
        wrong=lambda: with_strict_norm(ASPP(64), "whole.1"),
        measure=failure_to_train_on_one_image,
        meaning=ONE_IMAGE,
    ),
    Erratum(
        key="parnet_raw_skip",
        block="parnet",
        found_in="popular copies",
        text="The BatchNorm of the skip is left out: the gate looks at raw numbers, and raw numbers are added to "
        "normalised ones, so that the scale of the input decides which of the branches counts. In return the "
        "convolutions have biases that the BatchNorm behind them subtracts again.",
        wrong=RawSkipParNet,
        measure=distance_from_published("parnet"),
        meaning="distance of the fingerprint from that of the official code",
        recorded="popular_copy",
    ),
    Erratum(
        key="psa_adds_the_branches",
        block="psa",
        found_in="popular copies",
        text="The four branches are added where they should be concatenated, so that a quarter of the channels comes "
        "out and the module cannot be plugged in. Each branch sees a quarter of the input, where in the official code "
        "each sees all of it, and has an SE of its own in the place of one for all.",
        wrong=QuarterPSA,
        measure=distance_from_published("psa"),
        meaning="distance of the fingerprint from that of the official code (infinite: another shape)",
        recorded="popular_copy",
    ),
    Erratum(
        key="psa_hides_its_parameters",
        block="psa",
        found_in="popular copies",
        text="Convolutions and gates are kept in plain Python lists. `parameters()` is empty: nothing is trained, "
        "nothing is saved, and `.cuda()` leaves it all behind.",
        wrong=HiddenPSA,
        measure=hidden_parameters,
        meaning="number of parameters that the module does not know of",
    ),
    Erratum(
        key="psa_overwrites_its_input",
        block="psa",
        found_in="popular copies",
        text="What the convolutions give is written into a view of the input. A shortcut around the module adds the "
        "convolved image in the place of the image, and an input that needs a gradient raises an error.",
        wrong=OverwritingPSA,
        measure=damage_to_the_input,
        meaning="share of the input's numbers that change",
    ),
    Erratum(
        key="safm_pools_to_nothing",
        block="safm",
        found_in="the official code",
        text="The pooled side is the side divided by 1, 2, 4 and 8, rounded down: zero for an image with fewer than "
        "eight rows or columns, and that fails. Ours pools to one pixel at least.",
        wrong=lambda: RoundedDownSAFM(64),
        measure=not_finite_at_one_pixel,
        meaning="share of the output that is not finite for an image of one pixel (infinite: it fails)",
    ),
    Erratum(
        key="selective_kernel_dense_branches",
        block="selective_kernel",
        found_in="popular copies",
        text="Four dense branches of 1×1 to 7×7 in the place of two grouped 3×3 ones: 355,360 parameters against 8,768 "
        "at 64 channels, forty times as many. The summary from which the branches are chosen has lost its BatchNorm "
        "and its ReLU, so that two linear layers stand where one would do.",
        wrong=DenseSelectiveKernel,
        measure=distance_from_published("selective_kernel"),
        meaning="distance of the fingerprint from that of the official networks",
        recorded="popular_copy",
    ),
    Erratum(
        key="selective_kernel_refuses_one_image",
        block="selective_kernel",
        found_in="popular copies",
        text="The BatchNorm of the summary gets one value from each image and channel, so that PyTorch versions refuse "
        "to train on a batch of one. Ours normalises a single summary with the running statistics.",
        wrong=lambda: with_strict_norm(SelectiveKernel(64), "fuse.1"),
        measure=failure_to_train_on_one_image,
        meaning=ONE_IMAGE,
    ),
    Erratum(
        key="split_attention_refuses_one_image",
        block="split_attention",
        found_in="the official code",
        text="The BatchNorm in the bottleneck of the attention gets one value from each image and channel, so that a "
        "batch of one is refused in training. Ours normalises a single summary with the running statistics.",
        wrong=lambda: with_strict_norm(SplitAttention(64), "fuse.1"),
        measure=failure_to_train_on_one_image,
        meaning=ONE_IMAGE,
    ),
    Erratum(
        key="split_attention_without_norm",
        block="split_attention",
        found_in="popular copies",
        text="A library's layer has no BatchNorm at all unless one is passed; its own networks pass one. Who takes the "
        "layer alone, or copies it, gets split attention without the normalisation of the paper.",
        wrong=split_attention_without_norm,
        measure=distance_from_published("split_attention"),
        meaning="distance of the fingerprint from that of the official code",
        recorded="popular_copy",
    ),
]
