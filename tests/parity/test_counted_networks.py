"""The structure of networks of which no fingerprint was recorded: what the official code builds, as facts.

They share the class of a smaller network that is proved equal, or of its encoder, and have the published numbers of
parameters and multiply-adds. What those cannot show is checked here: which layer has which kernel, width and number of
groups.
"""

from itertools import pairwise

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
T2T_VIT = {  # width, blocks, heads, width of the feed-forward part, whether performers make the tokens
    "t2t_vit_14": (384, 14, 6, 1152, True),
    "t2t_vit_19": (448, 19, 7, 1344, True),
    "t2t_vit_t_14": (384, 14, 6, 1152, False),
}
CEIT = {"ceit_small": (384, 6), "ceit_base": (768, 12)}  # width, heads
PVT = {  # blocks
    "pvt_tiny": (2, 2, 2, 2),
    "pvt_small": (3, 4, 6, 3),
    "pvt_medium": (3, 4, 18, 3),
    "pvt_large": (3, 8, 27, 3),
}
CVT = {"cvt_13": (1, 2, 10), "cvt_21": (1, 4, 16)}  # blocks
SHUNTED = {  # blocks, further convolutions of the stem
    "shunted_tiny": ((1, 2, 4, 1), 0),
    "shunted_small": ((2, 4, 12, 1), 1),
    "shunted_base": ((3, 4, 24, 2), 2),
}
FOCAL = {  # channels, blocks, heads
    "focal_tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "focal_small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "focal_base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
MSG_TRANSFORMER = {  # channels, blocks, heads
    "msg_transformer_tiny": (64, (2, 4, 12, 4), (2, 4, 8, 16)),
    "msg_transformer_small": (96, (2, 4, 12, 4), (3, 6, 12, 24)),
    "msg_transformer_base": (96, (2, 4, 28, 4), (3, 6, 12, 24)),
}
DILATEFORMER = {  # channels, blocks
    "dilateformer_tiny": (72, (2, 2, 6, 2)),
    "dilateformer_small": (72, (3, 5, 8, 3)),
    "dilateformer_base": (96, (4, 8, 10, 3)),
}
UNET = {  # channels in and out and kernel of the decoder's convolutions, from the bottom up; whether it has BatchNorms
    "unet_bilinear": (
        [
            (1024, 512, 3),
            (512, 256, 3),
            (512, 256, 3),
            (256, 128, 3),
            (256, 128, 3),
            (128, 64, 3),
            (128, 64, 3),
            (64, 64, 3),
        ],
        True,
    ),
    "unet_half": (
        [
            *[(512, 256, 1), (512, 256, 3), (256, 256, 3)],
            *[(256, 128, 1), (256, 128, 3), (128, 128, 3)],
            *[(128, 64, 1), (128, 64, 3), (64, 64, 3)],
            *[(64, 32, 1), (64, 32, 3), (32, 32, 3)],
        ],
        False,
    ),
}
TWO_RATIOS, THREE_RATIOS = ((16, 2), (24, 4)), ((16, 2), (20, 4), (24, 6))
SEAFORMER = {
    # Channels and expansions of the stages behind the first residual, attention blocks of a stage, heads, and for each
    # stage with attention the channels of a key and the width of the feed-forward part; channels of the head's gates.
    "small": ((24, 48, 96, 160, 192), (4, 3, 3, 4, 6), 3, 6, TWO_RATIOS, (96, 128)),
    "base": ((32, 64, 128, 192, 256), (4, 3, 3, 4, 6), 4, 8, TWO_RATIOS, (128, 160)),
    "large": ((64, 128, 192, 256, 320), (4, 4, 4, 4, 6), 3, 8, THREE_RATIOS, (128, 160, 192)),
    "tiny": ((16, 32, 64, 128, 160), (4, 3, 3, 3, 6), 2, 4, TWO_RATIOS, (64, 96)),
}
SEAFORMERS = {f"seaformer_{size}{kind}": SEAFORMER[size] for size in SEAFORMER for kind in ("", "_seg")}
VIT_ADAPTER = {  # channels, heads of the transformer, heads of the deformable attention, channels of its values
    "vit_adapter_small": (384, 6, 6, 384),
    "vit_adapter_base": (768, 12, 12, 384),
}
FACTS = (
    UNET
    | SEAFORMERS
    | VIT_ADAPTER
    | SHUFFLENET_V1
    | CONV2FORMER
    | UNIREPLKNET
    | REPNEXT
    | T2T_VIT
    | CEIT
    | PVT
    | CVT
    | SHUNTED
    | FOCAL
    | MSG_TRANSFORMER
    | DILATEFORMER
)


def meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return stitchwork.create_model(name)


def convolutions(module: nn.Module, *, depthwise: bool) -> list[nn.Conv2d]:
    """Either those that see each channel alone, or the others, in the order in which they were built."""
    found = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    return [conv for conv in found if (conv.groups == conv.in_channels) == depthwise]


def linears(module: nn.Module) -> list[tuple[int, int, bool]]:
    """Width in, width out and whether there is a bias, of all linear layers in the order in which they were built."""
    found = [m for m in module.modules() if isinstance(m, nn.Linear)]
    return [(layer.in_features, layer.out_features, layer.bias is not None) for layer in found]


def biased(*layers: tuple[int, int]) -> list[tuple[int, int, bool]]:
    """The linear layers of these widths in and out, each with a bias."""
    return [(*layer, True) for layer in layers]


def shapes(convs: list[nn.Conv2d]) -> list[tuple[int, int, int, int]]:
    """Channels in and out, kernel and stride."""
    return [(conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0]) for conv in convs]


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


@pytest.mark.parametrize("name", T2T_VIT)
def test_t2t_vit(name):
    width, depth, heads, hidden, performers = T2T_VIT[name]
    network = meta(name)
    attention = [(width, 3 * width, False), (width, width, True)]
    assert linears(network.blocks) == [*attention, (width, hidden, True), (hidden, width, True)] * depth
    assert {block.attn.num_heads for block in network.blocks} == {heads}
    assert {m.eps for m in network.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}
    tokens = network.tokens_to_token
    for transform, entering in zip(tokens.transforms, (7 * 7 * 3, 3 * 3 * 64), strict=True):
        assert linears(transform) == [(entering, 3 * 64, performers), *[(64, 64, True)] * 3]
        if performers:
            assert transform.random.shape == (32, 64)
        else:
            assert transform.attend.scale == entering**-0.5
    assert linears(tokens.project) == [(3 * 3 * 64, width, True)]
    assert network.positions.table.shape == (1, 197, width) and not network.positions.table.requires_grad


@pytest.mark.parametrize("name", CEIT)
def test_ceit(name):
    width, heads = CEIT[name]
    network = meta(name)
    stem = [(conv.out_channels, conv.kernel_size[0], conv.stride[0]) for conv in convolutions(network, depthwise=False)]
    assert stem[:2] == [(64, 7, 2), (width, 4, 4)]
    assert len(network.blocks) == 12
    attention = [(width, 3 * width, True), (width, width, True)]
    for block in network.blocks:
        assert linears(block) == attention and block.attn.num_heads == heads
        assert [(c.in_channels, c.out_channels) for c in convolutions(block, depthwise=False)] == [
            (width, 4 * width),
            (4 * width, width),
        ]
        assert [(c.in_channels, c.kernel_size[0]) for c in convolutions(block, depthwise=True)] == [(4 * width, 3)]
    assert linears(network.class_attention) == [*attention, (width, 4 * width, True), (4 * width, width, True)]
    assert network.class_attention.num_heads == heads and network.layer_position.shape == (1, 12, width)
    assert {m.eps for m in network.modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


@pytest.mark.parametrize("name", PVT)
def test_pvt(name):
    network, widths = meta(name), (64, 128, 320, 512)
    for index, (blocks, width, depth) in enumerate(zip(network.stages, widths, PVT[name], strict=True)):
        cell, hidden = (8, 4, 2, 1)[index], (8, 8, 4, 4)[index] * width
        found = shapes([network.patch_embeds[index]])
        assert found == [(widths[index - 1], width, 2, 2) if index else (3, width, 4, 4)]
        reductions = [(width, width, cell, cell)] * depth if cell > 1 else []
        assert shapes(convolutions(blocks, depthwise=False)) == reductions
        layers = biased((width, width), (width, 2 * width), (width, width), (width, hidden), (hidden, width))
        assert linears(blocks) == layers * depth
        assert [block.attn.num_heads for block in blocks] == [(1, 2, 5, 8)[index]] * depth
    assert [p.table.shape[1] for p in network.positions] == [56**2, 28**2, 14**2, 7**2 + 1]


@pytest.mark.parametrize("name", CVT)
def test_cvt(name):
    network = meta(name)
    assert shapes(network.embeds) == [(3, 64, 7, 4), (64, 192, 3, 2), (192, 384, 3, 2)]
    for blocks, width, heads, depth in zip(network.stages, (64, 192, 384), (1, 3, 6), CVT[name], strict=True):
        found = shapes(convolutions(blocks, depthwise=True))
        assert found == [(width, width, 3, 1), (width, width, 3, 2), (width, width, 3, 2)] * depth
        layers = biased(*[(width, width)] * 4, (width, 4 * width), (4 * width, width))
        assert linears(blocks) == layers * depth
        assert [block.attn.num_heads for block in blocks] == [heads] * depth
        assert {block.attn.attend.scale for block in blocks} == {width**-0.5}


@pytest.mark.parametrize("name", SHUNTED)
def test_shunted(name):
    depths, further = SHUNTED[name]
    network, widths = meta(name), (64, 128, 256, 512)
    for index, (stage, width, depth) in enumerate(zip(network.stages, widths, depths, strict=True)):
        cell, hidden = (8, 4, 2, 1)[index], (8, 8, 4, 4)[index] * width
        stem = [(3, 64, 7, 2), *[(64, 64, 3, 1)] * further, (64, 64, 2, 2)]
        found = shapes(convolutions(stage.embed, depthwise=False))
        assert found == ([(width // 2, width, 3, 2)] if index else stem)
        cells = [(width, width, side, side) for side in (cell, cell // 2)] if cell > 1 else []
        assert shapes(convolutions(stage.blocks, depthwise=False)) == cells * depth
        detail = [width // 2] * 2 if cell > 1 else [width]
        found = shapes(convolutions(stage.blocks, depthwise=True))
        assert found == [(c, c, 3, 1) for c in (*detail, hidden)] * depth
        keys = [(width, width)] * 2 if cell > 1 else [(width, 2 * width)]
        layers = biased((width, width), *keys, (width, width), (width, hidden), (hidden, width))
        assert linears(stage.blocks) == layers * depth
        assert [block.attn.num_heads for block in stage.blocks] == [(2, 4, 8, 16)[index]] * depth


@pytest.mark.parametrize("name", FOCAL)
def test_focal(name):
    dim, depths, heads = FOCAL[name]
    rows = zip(meta(name).stages, depths, heads, (7, 5, 3, 1), (132, 132, 132, 0), strict=True)
    for index, (stage, depth, number, focal_window, margin) in enumerate(rows):
        width = dim * 2**index
        assert shapes([stage.patch_embed]) == [(width // 2, width, 2, 2) if index else (3, width, 4, 4)]
        layers = biased((49, 1), (width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
        assert linears(stage.blocks) == layers * depth
        for attn in (block.attn for block in stage.blocks):
            assert attn.num_heads == number and attn.position.table.shape == (13 * 13, number)
            assert attn.window_bias.shape == (number, (6 + focal_window) ** 2)
            assert attn.margin_bias.shape == (1, number, 49, margin) if margin else attn.margin_bias is None


@pytest.mark.parametrize("name", MSG_TRANSFORMER)
def test_msg_transformer(name):
    dim, depths, heads = MSG_TRANSFORMER[name]
    network = meta(name)
    assert network.messengers.shape == (1, 16, 1, dim)
    found = shapes([network.patch_embed, *network.merges])
    assert found == [(3, dim, 7, 4), *[(dim * 2**i, dim * 2 ** (i + 1), 3, 2) for i in range(3)]]
    for index, (blocks, depth) in enumerate(zip(network.stages, depths, strict=True)):
        width = dim * 2**index
        layers = biased((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
        assert linears(blocks) == layers * depth
        assert [block.attn.num_heads for block in blocks] == [heads[index]] * depth
        assert [block.region for block in blocks] == [(4, 4, 2, 1)[index]] * depth


@pytest.mark.parametrize("name", DILATEFORMER)
def test_dilateformer(name):
    dim, depths = DILATEFORMER[name]
    network = meta(name)
    found = shapes(convolutions(network.stem, depthwise=False))
    assert found == [(3, 16, 3, 1), (16, 32, 3, 2), (32, 64, 3, 1), (64, dim, 3, 2)]
    for index, (stage, depth) in enumerate(zip(network.stages, depths, strict=True)):
        width = dim * 2**index
        assert shapes(convolutions(stage.blocks, depthwise=True)) == [(width, width, 3, 1)] * depth
        merge = [(width // 2, width, 3, 2)] if index else []
        attention = [(width, 3 * width, 1, 1), (width, width, 1, 1)] if index < 2 else []
        assert shapes(convolutions(stage, depthwise=False)) == merge + attention * depth
        layers = [(width, 3 * width), (width, width)] if index >= 2 else []
        assert linears(stage.blocks) == biased(*layers, (width, 4 * width), (4 * width, width)) * depth
        attentions = [block.block.attn for block in stage.blocks]
        assert [attn.num_heads for attn in attentions] == [3 * 2**index] * depth
        assert index >= 2 or {(attn.kernel_size, attn.dilation) for attn in attentions} == {(3, (1, 2, 3))}


@pytest.mark.parametrize("name", UNET)
def test_unet(name):
    decoder, norms = UNET[name]
    network = meta(name)
    widths = {"unet_bilinear": (3, 64, 128, 256, 512, 512), "unet_half": (3, 32, 64, 128, 256, 512)}[name]
    encoder = [row for dim, out in pairwise(widths) for row in ((dim, out, 3, 1), (out, out, 3, 1))]
    assert shapes(convolutions(network.down, depthwise=False)) == encoder
    assert shapes(convolutions(network.up, depthwise=False)) == [(*row, 1) for row in decoder]
    assert shapes([network.head]) == [(decoder[-1][1], 2, 1, 1)]
    # The popular code has no bias in front of a BatchNorm, the widely copied one has.
    assert {conv.bias is None for conv in convolutions(network.down, depthwise=False)} == {name == "unet_bilinear"}
    assert {conv.bias is None for conv in convolutions(network.up, depthwise=False)} == {norms}
    assert len([part for part in network.down.modules() if isinstance(part, nn.BatchNorm2d)]) == 10
    assert len([part for part in network.up.modules() if isinstance(part, nn.BatchNorm2d)]) == 8 * norms
    scaling = [part for part in network.up.modules() if isinstance(part, nn.Upsample)]
    assert [(part.scale_factor, part.mode, part.align_corners) for part in scaling] == [(2.0, "bilinear", True)] * 4
    assert {up.own_first for up in network.up} == {name == "unet_half"}


@pytest.mark.parametrize("name", SEAFORMERS)
def test_seaformer(name):
    dims, expansions, depth, heads, attention, gates = SEAFORMERS[name]
    network, large = meta(name), "large" in name
    first = 32 if large else 16
    encoder = network.encoder
    assert shapes([encoder.stem.conv]) == [(3, first, 3, 2)]
    # The first residual: width, kernel, stride; then those of each stage, of which the first halves the map.
    rows, before = [(3 * first if large else first, 3, 1)], first
    for dim, t, kernel, count in zip(dims, expansions, (3, 5, 3, 5, 3), (2, 2, 2, 1, 1), strict=True):
        later = 3 if dim == dims[0] and not large else t
        rows += [(t * before, kernel, 2)] + [(later * dim, kernel, 1)] * (count - 1)
        before = dim
    found = convolutions(encoder.convolve, depthwise=True)
    assert [(conv.in_channels, conv.kernel_size[0], conv.stride[0]) for conv in found] == rows
    projections = [block.project.conv.out_channels for stage in encoder.convolve for block in stage]
    assert projections == [first, *[dim for dim, count in zip(dims, (2, 2, 2, 1, 1)) for _ in range(count)]]
    assert [len(stage) for stage in encoder.attend] == [0] * (5 - len(attention)) + [depth] * len(attention)
    for stage, (key_dim, ratio), dim in zip(encoder.attend[-len(attention) :], attention, dims[-len(attention) :]):
        for block in stage:
            widths = {"to_q": heads * key_dim, "to_k": heads * key_dim, "to_v": 2 * heads * key_dim}
            assert {part: getattr(block.attn, part).conv.out_channels for part in widths} == widths
            assert block.attn.row.heads == block.attn.column.heads == heads
            assert block.mlp[1].in_channels == ratio * dim
    if name.endswith("seg"):
        coarse = dims[-len(gates) :]
        fine = (dims[1], *gates)
        found = [shapes([gate.local.conv, gate.gate.conv]) for gate in network.gates]
        assert found == [[(a, out, 1, 1), (b, out, 1, 1)] for a, b, out in zip(fine, coarse, gates)]


@pytest.mark.parametrize("name", VIT_ADAPTER)
def test_vit_adapter(name):
    dim, heads, deform_heads, values = VIT_ADAPTER[name]
    network = meta(name)
    assert linears(network.blocks) == biased((dim, 3 * dim), (dim, dim), (dim, 4 * dim), (4 * dim, dim)) * 12
    assert {part.num_heads for part in network.blocks.modules() if hasattr(part, "num_heads")} == {heads}

    def reading(levels):
        points = deform_heads * levels * 4
        return [(dim, 2 * points), (dim, points), (dim, values), (values, dim)]

    assert linears(network.injectors) == biased(*reading(3)) * 4
    assert linears(network.extractors) == biased(*reading(1), (dim, dim // 4), (dim // 4, dim)) * 6
    assert [len(group) for group in network.extractors] == [1, 1, 1, 3]
    found = shapes(convolutions(network.prior.stages, depthwise=False))
    assert found == [(3, 64, 3, 2), (64, 64, 3, 1), (64, 64, 3, 1), (64, 128, 3, 2), (128, 256, 3, 2), (256, 256, 3, 2)]


def test_every_counted_network_has_its_facts():
    counted = {name for name in stitchwork.list_models() if f"counted:{name}" in stitchwork.describe(name).references}
    assert counted and counted <= FACTS.keys()
