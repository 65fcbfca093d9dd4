"""The structure of networks of which no fingerprint was recorded: what the official code builds, as facts.

They share the class of a smaller network that is proved equal, and have the published numbers of parameters and
multiply-adds. What those cannot show is checked here: which layer has which kernel, width and number of groups.
"""

import pytest
import torch
from torch import nn

import stitchwork
from stitchwork import fuse

LARGE = (13,)
HALF = (13, 3)
THIRD = (13, 3, 3)
SHUFFLENET_V1 = {  # groups, channels of the stem and the three stages
    "shufflenet_v1_x0_5_g3": (3, (12, 120, 240, 480)),
    "shufflenet_v1_x1_0_g3": (3, (24, 240, 480, 960)),
    "shufflenet_v1_x1_5_g3": (3, (24, 360, 720, 1440)),
    "shufflenet_v1_x2_0_g3": (3, (48, 480, 960, 1920)),
    "shufflenet_v1_x0_5_g8": (8, (16, 192, 384, 768)),
    "shufflenet_v1_x1_0_g8": (8, (24, 384, 768, 1536)),
    "shufflenet_v1_x1_5_g8": (8, (24, 576, 1152, 2304)),
    "shufflenet_v1_x2_0_g8": (8, (48, 768, 1536, 3072)),
}
CONV2FORMER = {  # kernel, channels, blocks
    "conv2former_n": (7, (64, 128, 256, 512), (2, 2, 8, 2)),
    "conv2former_t": (11, (72, 144, 288, 576), (3, 3, 12, 3)),
    "conv2former_s": (11, (72, 144, 288, 576), (4, 4, 32, 4)),
    "conv2former_b": (11, (96, 192, 384, 768), (4, 4, 34, 4)),
    "conv2former_l": (11, (128, 256, 512, 1024), (4, 4, 48, 4)),
}
UNIREPLKNET = {  # channels, kernels of the blocks
    "unireplknet_a": ((40, 80, 160, 320), ((3,) * 2, LARGE * 2, LARGE * 6, LARGE * 2)),
    "unireplknet_f": ((48, 96, 192, 384), ((3,) * 2, LARGE * 2, LARGE * 6, LARGE * 2)),
    "unireplknet_p": ((64, 128, 256, 512), ((3,) * 2, LARGE * 2, LARGE * 6, LARGE * 2)),
    "unireplknet_n": ((80, 160, 320, 640), ((3,) * 2, LARGE * 2, LARGE * 8, LARGE * 2)),
    "unireplknet_t": ((80, 160, 320, 640), ((3,) * 3, LARGE * 3, HALF * 9, LARGE * 3)),
    "unireplknet_s": ((96, 192, 384, 768), ((3,) * 3, LARGE * 3, THIRD * 9, LARGE * 3)),
}
REPNEXT = {  # channels, blocks beside those that downsample
    "repnext_m0": ((40, 80, 160, 320), (2, 2, 9, 1)),
    "repnext_m1": ((48, 96, 192, 384), (3, 3, 15, 2)),
    "repnext_m2": ((56, 112, 224, 448), (3, 3, 15, 2)),
    "repnext_m3": ((64, 128, 256, 512), (3, 3, 13, 2)),
    "repnext_m4": ((64, 128, 256, 512), (5, 5, 25, 4)),
    "repnext_m5": ((80, 160, 320, 640), (7, 7, 35, 2)),
}
FACTS = SHUFFLENET_V1 | CONV2FORMER | UNIREPLKNET | REPNEXT


def meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return stitchwork.create_model(name)


def convolutions(module: nn.Module, *, depthwise: bool) -> list[nn.Conv2d]:
    """Either those that see each channel alone, or the others, in the order in which they were built."""
    found = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    return [conv for conv in found if (conv.groups == conv.in_channels) == depthwise]


@pytest.mark.parametrize("name", SHUFFLENET_V1)
def test_shufflenet_v1(name):
    groups, widths = SHUFFLENET_V1[name]
    network = meta(name)
    assert network.pyramid_channels == widths
    assert [len(stage) for stage in network.stages] == [4, 8, 4]
    first, *others = [conv for stage in network.stages for conv in convolutions(stage, depthwise=False)]
    assert first.groups == 1 and {conv.groups for conv in others} == {groups}
    for stage, width in zip(network.stages, widths[1:], strict=True):
        depthwise = convolutions(stage, depthwise=True)
        assert [conv.stride[0] for conv in depthwise] == [2] + [1] * (len(stage) - 1)
        assert {(conv.in_channels, conv.kernel_size) for conv in depthwise} == {(width // 4, (3, 3))}


@pytest.mark.parametrize("name", CONV2FORMER)
def test_conv2former(name):
    kernel, widths, depths = CONV2FORMER[name]
    network = meta(name)
    assert network.pyramid_channels == widths
    for stage, width, depth in zip(network.stages, widths, depths, strict=True):
        found = [(conv.in_channels, conv.kernel_size[0]) for conv in convolutions(stage, depthwise=True)]
        assert found == [(width, kernel), (4 * width, 3)] * depth
    assert network.head_features == 1280


@pytest.mark.parametrize("name", UNIREPLKNET)
def test_unireplknet(name):
    widths, kernels = UNIREPLKNET[name]
    network = meta(name)
    fused = fuse(network)
    assert network.pyramid_channels == widths
    for stage, fused_stage, width, sizes in zip(network.stages, fused.stages, widths, kernels, strict=True):
        found = [(conv.in_channels, conv.kernel_size[0]) for conv in convolutions(fused_stage, depthwise=True)]
        assert found == [(width, size) for size in sizes]
        found = [(conv.kernel_size[0], conv.dilation[0]) for conv in convolutions(stage, depthwise=True)]
        companions = {3: [], 13: [(5, 1), (7, 2), (3, 3), (3, 4), (3, 5)]}
        assert found == [branch for size in sizes for branch in [(size, 1), *companions[size]]]
        # The gate's two layers have a quarter of the channels between them, the others four times as many.
        hidden = [conv.out_channels for conv in convolutions(fused_stage, depthwise=False)]
        assert hidden == [width // 4, width, 4 * width, width] * len(sizes)


@pytest.mark.parametrize("name", REPNEXT)
def test_repnext(name):
    widths, depths = REPNEXT[name]
    network = meta(name)
    fused = fuse(network)
    assert network.pyramid_channels == widths
    for index, (stage, width, depth) in enumerate(zip(fused.stages, widths, depths, strict=True)):
        found = [(*conv.kernel_size, conv.stride[0], conv.in_channels) for conv in convolutions(stage, depthwise=True)]
        downsample = [(3, 3, 2, width // 2), (7, 7, 2, width // 2)] if index else []
        quarter = width // 4
        block = [(3, 3, 1, quarter), (7, 7, 1, quarter), (1, 11, 1, quarter), (11, 1, 1, quarter)]
        assert found == downsample + block * depth
        hidden = [conv.out_channels for conv in convolutions(stage, depthwise=False)]
        assert hidden == [2 * width, width] * (depth + bool(index))


def test_every_counted_network_has_its_facts():
    counted = {name for name in stitchwork.list_models() if f"counted:{name}" in stitchwork.describe(name).references}
    assert counted and counted <= FACTS.keys()
