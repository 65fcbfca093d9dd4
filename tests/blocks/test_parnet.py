import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.analysis import count_multiply_adds
from stitchwork.blocks.parnet import FusedParNetBlock, ParNetBlock


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = ParNetBlock(8).double().eval()
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                nn.init.uniform_(tensor, 0.2, 1.5)
    return block


@pytest.fixture
def x():
    return torch.randn(2, 8, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def normalised(u, norm):
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (u - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def test_equals_the_equation(block, x):
    wide = normalised(F.conv2d(x, block.conv3.conv.weight, padding=1), block.conv3.norm)
    point = normalised(torch.einsum("oc,bchw->bohw", block.conv1.conv.weight[..., 0, 0], x), block.conv1.norm)
    skip = normalised(x, block.skip)
    gate = torch.sigmoid(skip.mean((2, 3)) @ block.excite.weight[..., 0, 0].T)[..., None, None]
    y = wide + point + skip * gate
    torch.testing.assert_close(block(x), y * torch.sigmoid(y))


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (12, 3)], ids="{0[0]}x{0[1]}".format)
def test_fused_is_the_same_function(block, size):
    """Gradient included; and it is one convolution."""
    x = torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    fused = block.fuse()
    assert isinstance(fused, FusedParNetBlock) and not fused.training
    results = []
    for module in (block, fused):
        y = module(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), x)))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


def test_fusing_saves_the_pointwise_convolution(block):
    """9 C^2 instead of 10 C^2 multiply-adds for a pixel, and C^2 once for the gate."""
    shape = (1, 8, 6, 6)
    assert count_multiply_adds(block.float(), input_size=shape) == 10 * 64 * 36 + 64
    assert count_multiply_adds(block.fuse(), input_size=shape) == 9 * 64 * 36 + 64


def test_fused_block_is_independent_of_the_original(block, x):
    fused = block.fuse()
    expected = fused(x)
    for p in block.parameters():
        nn.init.zeros_(p)
    torch.testing.assert_close(fused(x), expected)


def test_gate_sees_the_normalised_image(block, x):
    """Behind a BatchNorm in training, the scale of the image changes nothing, neither in the gate nor in the output."""
    seen = []
    block.gate.register_forward_hook(lambda m, inputs, output: seen.append(output))
    block.train()
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-15
    torch.testing.assert_close(block(x), block(1000 * x))
    assert seen[0].shape == (2, 8, 1, 1)
    torch.testing.assert_close(seen[0], seen[1])


@pytest.mark.parametrize("dim", [1, 64, 67])
def test_parameters(dim):
    assert sum(p.numel() for p in ParNetBlock(dim).parameters()) == 11 * dim**2 + 6 * dim
