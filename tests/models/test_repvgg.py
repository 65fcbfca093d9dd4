import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model, fuse
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import FusedConv2d
from stitchwork.models.repvgg import RepVGG, RepVGGBlock

# Channels in and out, and stride; with many channels the 1x1 convolution itself is strided.
SHAPES = [(8, 8, 1), (8, 8, 2), (8, 12, 1), (8, 12, 2), (64, 12, 2)]


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def lived_in(block):
    """In double precision, and with statistics, scales and shifts that are not those of the beginning."""
    block = block.double().eval()
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -1, 1)
            nn.init.uniform_(norm.running_var, 0.2, 2)
            nn.init.uniform_(norm.weight, -1, 2)
            nn.init.uniform_(norm.bias, -1, 1)
    return block


# Table 2: (channels, stride) of every block of A0 and B1, stem first.
@pytest.mark.parametrize(
    ("name", "stem", "widths", "depths"),
    [
        ("repvgg_a0", 48, (48, 96, 192, 1280), (2, 4, 14, 1)),
        ("repvgg_a1", 64, (64, 128, 256, 1280), (2, 4, 14, 1)),
        ("repvgg_a2", 64, (96, 192, 384, 1408), (2, 4, 14, 1)),
        ("repvgg_b0", 64, (64, 128, 256, 1280), (4, 6, 16, 1)),
        ("repvgg_b1", 64, (128, 256, 512, 2048), (4, 6, 16, 1)),
        ("repvgg_b2", 64, (160, 320, 640, 2560), (4, 6, 16, 1)),
        ("repvgg_b3", 64, (192, 384, 768, 2560), (4, 6, 16, 1)),
    ],
)
def test_table_2(name, stem, widths, depths):
    model = meta(name)
    blocks = [m for m in model.modules() if isinstance(m, RepVGGBlock)]
    found = [(b.dense.conv.out_channels, b.dense.conv.stride[0]) for b in blocks]
    expected = [(stem, 2)]
    for width, depth in zip(widths, depths, strict=True):
        expected += [(width, 2)] + [(width, 1)] * (depth - 1)
    assert found == expected
    assert model.pyramid_channels == widths
    # The identity takes part in all blocks but the first of a stage, and the stem.
    assert [b.identity is not None for b in blocks] == [stride == 1 for _, stride in found]


# Table 4, of the fused networks: million parameters and 10^9 multiply-adds.
@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("repvgg_a0", 8.30, 1.4),
        ("repvgg_a1", 12.78, 2.4),
        ("repvgg_b0", 14.33, 3.1),
        ("repvgg_a2", 25.49, 5.1),
        ("repvgg_b1g4", 36.12, 7.3),
        ("repvgg_b1", 51.82, 11.8),
        ("repvgg_b2", 80.31, 18.4),
    ],
)
def test_cost_of_the_fused_networks(name, parameters, multiply_adds):
    fused = fuse(meta(name))
    # The paper cuts off instead of rounding.
    assert count_parameters(fused) / 1e6 == pytest.approx(parameters + 0.005, abs=0.0051)
    assert count_multiply_adds(fused, input_size=(1, 3, 224, 224)) / 1e9 == pytest.approx(multiply_adds, abs=0.06)


def test_every_second_block_is_grouped():
    """Section 3.4: the 3rd, 5th, 7th, ... layer of the network; the stem is the 1st."""
    blocks = [m for m in meta("repvgg_b1g4").modules() if isinstance(m, RepVGGBlock)]
    groups = [{b.dense.conv.groups, b.pointwise.conv.groups} for b in blocks]
    assert groups == [{4} if layer in range(3, 28, 2) else {1} for layer in range(1, len(blocks) + 1)]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("dim", "out_dim", "stride"), SHAPES)
def test_block_equals_its_formula(dim, out_dim, stride, groups):
    """y = relu(BN(W3 x) + BN(W1 x) + BN(x)), the last only where the shape stays."""
    torch.manual_seed(0)
    block = lived_in(RepVGGBlock(dim, out_dim, stride, groups))
    x = torch.randn(2, dim, 7, 9, dtype=torch.double)
    y = block.dense.norm(F.conv2d(x, block.dense.conv.weight, None, stride, 1, 1, groups))
    y = y + block.pointwise.norm(F.conv2d(x, block.pointwise.conv.weight, None, stride, 0, 1, groups))
    if stride == 1 and dim == out_dim:
        y = y + block.identity(x)
    else:
        assert block.identity is None
    assert (y < 0).any() and (y > 0).any()
    torch.testing.assert_close(block(x), y.relu())


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("dim", "out_dim", "stride"), SHAPES)
def test_fused_block(dim, out_dim, stride, groups):
    torch.manual_seed(0)
    block = lived_in(RepVGGBlock(dim, out_dim, stride, groups))
    fused = block.fused()
    convolution, activation = fused
    assert isinstance(convolution, FusedConv2d) and isinstance(activation, nn.ReLU)
    assert convolution.weight.shape == (out_dim, dim // groups, 3, 3)
    for height, width in ((7, 9), (6, 8), (1, 1)):
        x = torch.randn(2, dim, height, width, dtype=torch.double)
        expected = block(x)
        assert expected.any()
        torch.testing.assert_close(fused(x), expected, atol=1e-12, rtol=0)


def test_fused_kernel_by_hand():
    """One channel: 9 taps of 1 scaled by 2, in the centre also the 1x1 tap of 5 and the identity's 3."""
    block = RepVGGBlock(1, 1).double().eval()
    nn.init.ones_(block.dense.conv.weight)
    nn.init.constant_(block.pointwise.conv.weight, 5)
    for norm, scale, shift in ((block.dense.norm, 2, 10), (block.pointwise.norm, 1, 20), (block.identity, 3, 30)):
        norm.running_var.fill_(4 - norm.eps)
        nn.init.constant_(norm.weight, 2 * scale)
        norm.running_mean.fill_(1)
        nn.init.constant_(norm.bias, shift)
    convolution = block.fused()[0]
    expected = torch.tensor([[2, 2, 2], [2, 2 + 5 + 3, 2], [2, 2, 2]], dtype=torch.double)
    torch.testing.assert_close(convolution.weight[0, 0], expected)
    # Each shift less scale times mean: 10 - 2, 20 - 1, 30 - 3.
    torch.testing.assert_close(convolution.bias, torch.tensor([8 + 19 + 27], dtype=torch.double))


def test_the_identity_is_not_shared_between_groups():
    """With silent convolutions a grouped block passes each channel to itself: the kernel is the identity."""
    block = RepVGGBlock(6, 6, groups=3).eval()
    nn.init.zeros_(block.dense.norm.weight)
    nn.init.zeros_(block.pointwise.norm.weight)
    x = torch.rand(1, 6, 4, 4)
    for form in (block, block.fused()):
        torch.testing.assert_close(form(x), x / (1 + 1e-5) ** 0.5)


@pytest.mark.parametrize(("dim", "out_dim", "groups"), [(8, 8, 1), (8, 12, 1), (8, 8, 4)])
def test_cost_of_a_block(dim, out_dim, groups):
    block = RepVGGBlock(dim, out_dim, groups=groups)
    size = (1, dim, 6, 5)
    assert count_multiply_adds(block, input_size=size) == 30 * 10 * dim * out_dim // groups
    assert count_multiply_adds(block.fused(), input_size=size) == 30 * 9 * dim * out_dim // groups
    norms = 2 * out_dim * (2 + (dim == out_dim))
    assert count_parameters(block) - count_parameters(block.fused()) == dim * out_dim // groups + norms - out_dim


def test_the_branches_train_apart():
    """In training each branch normalises with its own statistics: doubling one kernel changes nothing."""
    torch.manual_seed(0)
    block, x = RepVGGBlock(4, 4).double().train(), torch.randn(8, 4, 6, 6, dtype=torch.double)
    before = block(x)
    for branch in (block.dense, block.pointwise):
        branch.norm.eps = 1e-15
    exact = block(x)
    with torch.no_grad():
        block.dense.conv.weight *= 2
    torch.testing.assert_close(block(x), exact, atol=1e-12, rtol=0)
    torch.testing.assert_close(before, exact, atol=1e-3, rtol=1e-3)


STEPS = """
import torch
from stitchwork.models.repvgg import RepVGGBlock
torch.manual_seed(0)
block = RepVGGBlock(3, 48, stride=2)
x = torch.randn(4, 3, 224, 224)
gradients = []
for layout in [torch.contiguous_format] + [torch.channels_last] * 3:
    block.zero_grad()
    block.to(memory_format=layout)(x.contiguous(memory_format=layout)).square().sum().backward()
    gradients.append(block.pointwise.conv.weight.grad.flatten())
assert all(torch.allclose(g, gradients[0], rtol=1e-3, atol=1e-3 * gradients[0].abs().max()) for g in gradients)
"""


def test_first_block_trains_in_channels_last():
    """In a process of its own, because oneDNN's strided 1x1 convolution of three channels corrupts its memory."""
    finished = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_refusals():
    with pytest.raises(ValueError, match="RepVGGBlock: dim must be a multiple of groups=4; got dim=6"):
        RepVGGBlock(8, 6, groups=4)
    with pytest.raises(ValueError, match="RepVGGBlock: dim must be a multiple of groups=4; got dim=6"):
        RepVGGBlock(6, 8, groups=4)
    with pytest.raises(ValueError, match="RepVGG: depths must be greater than 0; got 0"):
        RepVGG((2, 4, 0, 1), 1.0, 2.5)
    with pytest.raises(ValueError, match="RepVGG: a must be greater than 0; got -1"):
        RepVGG((2, 4, 14, 1), -1, 2.5)
    with pytest.raises(ValueError, match="RepVGG: groups must be greater than 0; got 0"):
        RepVGG((2, 4, 14, 1), 1.0, 2.5, groups=0)
