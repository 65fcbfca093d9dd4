"""The stages of the tables, the gates of the head by hand, and a cost that grows with the pixels."""

import pytest
import torch
import torch.nn.functional as F

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds
from stitchwork.models.seaformer import (
    TINY,
    GateByCoarse,
    InvertedResidual,
    SeaBlock,
    SeaFormer,
    SeaFormerSegmenter,
    SeaStages,
)


def spread(module):
    """Running statistics and weights as after some training, so that every BatchNorm does something."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for value in (part.weight, part.running_var):
                value.data.uniform_(0.5, 1.5, generator=generator)
            for value in (part.bias, part.running_mean):
                value.data.normal_(generator=generator)
    return module.eval()


@pytest.mark.parametrize(
    ("name", "channels", "depths"),
    [
        ("tiny", (16, 32, 64, 128, 160), (2, 2)),
        ("small", (24, 48, 96, 160, 192), (3, 3)),
        ("base", (32, 64, 128, 192, 256), (4, 4)),
        ("large", (64, 128, 192, 256, 320), (3, 3, 3)),
    ],
)
@pytest.mark.parametrize("suffix", ["", "_seg"])
def test_stages(name, channels, depths, suffix):
    """Channels, halvings, and attention behind the last two stages, or three."""
    with torch.device("meta"):
        model = create_model(f"seaformer_{name}{suffix}")
        maps = model.encoder(torch.randn(1, 3, 256, 192))
    assert [tuple(y.shape[1:]) for y in maps] == [(c, 256 // s, 192 // s) for c, s in zip(channels, (4, 8, 16, 32, 64))]
    assert tuple(len(blocks) for blocks in model.encoder.attend) == (0,) * (5 - len(depths)) + depths
    assert model.pyramid_channels == channels[:4]


@pytest.mark.parametrize(("name", "width"), [("tiny", 96), ("small", 128), ("base", 160), ("large", 192)])
def test_the_head_works_at_an_eighth(name, width):
    with torch.device("meta"):
        model = create_model(f"seaformer_{name}_seg")
        features = model.forward_features(torch.randn(1, 3, 256, 192))
        logits = model(torch.randn(1, 3, 250, 190))
    assert features.shape == (1, width, 32, 24) and logits.shape == (1, 150, 250, 190)


def normalise(x, norm):
    shape = (-1, 1, 1)
    share = norm.weight.view(shape) / (norm.running_var.view(shape) + norm.eps).sqrt()
    return (x - norm.running_mean.view(shape)) * share + norm.bias.view(shape)


def test_a_gate_by_hand():
    """Hard sigmoid in front of the scaling up: a gate between two pixels lies between their gates."""
    gate = spread(GateByCoarse(3, 5, 4)).double()
    fine, coarse = torch.randn(2, 3, 6, 9, dtype=torch.float64), 4 * torch.randn(2, 5, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        local = normalise(torch.einsum("oi,bihw->bohw", gate.local.conv.weight[:, :, 0, 0], fine), gate.local.norm)
        z = normalise(torch.einsum("oi,bihw->bohw", gate.gate.conv.weight[:, :, 0, 0], coarse), gate.gate.norm)
        share = ((z + 3) / 6).clamp(0, 1)
        assert share.min() == 0 and share.max() == 1
        expected = local * F.interpolate(share, size=(6, 9), mode="bilinear")
        torch.testing.assert_close(gate(fine, coarse), expected)


def test_a_closed_gate_keeps_the_details_out():
    """The head begins at an eighth; without gates nothing passes, and the finest map has no way to the logits."""
    model = spread(SeaFormerSegmenter(TINY, 4, (1, 1), num_classes=5))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = model.encoder(x)
        y = maps[1]
        for gate, coarse in zip(model.gates, maps[3:]):
            y = gate(y, coarse)
        torch.testing.assert_close(model.forward_features(x), model.fuse(y))
        model.gates[0].gate.norm.bias.fill_(-1e6)
        model.gates[1].local.norm.running_mean.zero_()
        model.gates[1].local.norm.bias.zero_()
        features = model.forward_features(x)
    assert features.flatten(2).std(2).max() < 1e-6  # zeros, and what the last BatchNorm makes of them


def test_in_training_whole_channels_are_dropped():
    torch.manual_seed(0)
    model = SeaFormerSegmenter(TINY, 4, (1, 1), num_classes=4, dropout=0.5)
    model.head.weight.data.zero_()
    model.head.bias.data.zero_()
    for class_, channel in enumerate((0, 1, 2, 3)):
        model.head.weight.data[class_, channel] = 1
    seen = set()
    for _ in range(10):
        logits = model.forward_head(torch.ones(1, 96, 8, 8))
        assert logits.flatten(2).std(2).max() == 0
        seen |= set(logits.flatten().tolist())
    assert seen == {0.0, 2.0}
    assert model.eval().forward_head(torch.ones(1, 96, 8, 8)).eq(1).all()


def test_an_inverted_residual_by_hand():
    """Parameters of its three convolutions; without expansion there are two."""

    def count(block):
        return sum(p.numel() for p in block.parameters())

    assert count(InvertedResidual(16, 24, 5, 2, 4)) == 16 * 64 + 25 * 64 + 64 * 24 + 2 * (64 + 64 + 24)
    assert count(InvertedResidual(16, 16, 3, 1, 1)) == 9 * 16 + 16 * 16 + 2 * (16 + 16)
    x = torch.randn(1, 16, 7, 5)
    assert InvertedResidual(16, 16, 3, 2, 3)(x.expand(2, -1, -1, -1)).shape == (2, 16, 4, 3)
    block = spread(InvertedResidual(16, 16, 3, 1, 3))
    block.project.norm.weight.data.zero_()
    block.project.norm.bias.data.zero_()
    assert block(x).equal(x)
    block.has_shortcut = False
    assert not block(x).any()


def test_inverted_residuals_have_no_upper_bound():
    """ReLU stands in them, not the ReLU6 of MobileNetV2 and of the attention blocks."""
    torch.manual_seed(0)
    block, x = spread(InvertedResidual(16, 24, 5, 2, 3)), 20 * torch.randn(1, 16, 8, 6)
    with torch.no_grad():
        y = normalise(F.conv2d(x, block.expand.conv.weight), block.expand.norm).relu()
        z = F.conv2d(y, block.depthwise.conv.weight, stride=2, padding=2, groups=48)
        z = normalise(z, block.depthwise.norm).relu()
        assert y.max() > 12 and z.max() > 12
        torch.testing.assert_close(block(x), normalise(F.conv2d(z, block.project.conv.weight), block.project.norm))


def test_a_block_by_hand():
    """Two residual branches; in the second ReLU6, behind the depthwise convolution alone."""
    torch.manual_seed(0)
    block, x = spread(SeaBlock(32, 8, 2, 4)), torch.randn(1, 32, 6, 5)
    expand, depthwise, _, project = block.mlp
    with torch.no_grad():
        depthwise.weight *= 10
        y = x + block.attn(x)
        z = normalise(F.conv2d(y, expand.conv.weight), expand.norm)
        z = F.conv2d(z, depthwise.weight, depthwise.bias, padding=1, groups=128)
        assert z.max() > 12
        z = z.clamp(0, 6)
        torch.testing.assert_close(block(x), y + normalise(F.conv2d(z, project.conv.weight), project.norm))


def test_cost_grows_with_the_pixels():
    """Four times the pixels, four times the work: along rows and columns the attention is too small to show."""
    with torch.device("meta"):
        model = create_model("seaformer_tiny_seg")
    costs = [count_multiply_adds(model, input_size=(1, 3, side, side)) for side in (512, 1024)]
    assert costs[1] / costs[0] == pytest.approx(4, rel=0.005)


# Table 1: the classifiers' multiply-adds at 224 pixels in units of 10^9, to the digit given there.
@pytest.mark.parametrize(("name", "cost"), [("tiny", 0.1), ("small", 0.2), ("base", 0.3), ("large", 1.2)])
def test_multiply_adds_of_the_paper(name, cost):
    with torch.device("meta"):
        model = create_model(f"seaformer_{name}")
    assert count_multiply_adds(model, input_size=(1, 3, 224, 224)) / 1e9 == pytest.approx(cost, abs=0.05)


def test_stochastic_depth_starts_anew_in_each_stage():
    stages = SeaStages(TINY, (2, 3), (16, 24), (2, 4), 4, 3, drop_path_rate=0.1)
    rates = [[block.drop_path.rate for block in blocks] for blocks in stages.attend]
    assert rates == [[], [], [], [0, 0.1], [0, 0.05, 0.1]]


@pytest.mark.parametrize("build", [SeaFormer, SeaFormerSegmenter])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": (2, 0)}, "depths must be greater than 0; got 0"),
        ({"num_heads": 0}, "num_heads must be greater than 0; got 0"),
        ({"key_dims": (16, 0)}, "key_dims must be greater than 0; got 0"),
        ({"depths": (2, 2, 2)}, r"must be equally long; got \(2, 2, 2\), \(16, 24\) and \(2, 4\)"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be at least 0 and below 1; got 1.0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1; got 1.0"),
    ],
)
def test_refuses_arguments(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(TINY, **{"num_heads": 4, "depths": (2, 2), **arguments})
