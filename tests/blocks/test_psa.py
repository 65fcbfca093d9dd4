import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.blocks.psa import GroupConv, PyramidSqueezeAttention


@pytest.fixture
def block():
    torch.manual_seed(0)
    return PyramidSqueezeAttention(64).double().eval()


@pytest.fixture
def x():
    return torch.randn(2, 64, 11, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gate_of(block, x):
    seen = []
    handle = block.gate.register_forward_hook(lambda m, inputs, output: seen.append(output))
    with torch.no_grad():
        block(x)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(("groups", "out_dim"), [(16, 16), (8, 16), (4, 16), (1, 16), (2, 2), (32, 64)])
def test_group_conv_is_a_grouped_convolution(groups, out_dim):
    """Also where it is computed as a sum of depthwise convolutions, and so is its gradient."""
    torch.manual_seed(0)
    conv = GroupConv(64, out_dim, 5, groups).double()
    x = torch.randn(2, 64, 7, 6, dtype=torch.float64, requires_grad=True)
    results = []
    for y in (conv(x), F.conv2d(x, conv.weight, padding=2, groups=groups)):
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, conv.weight))))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


def test_equals_the_equations(block, x):
    """Every branch sees all channels, one SE serves all, and the 9x9 comes out first."""
    w0, b0 = block.squeeze.weight, block.squeeze.bias
    w1, b1 = block.excite.weight, block.excite.bias
    maps, scores = [], []
    for conv, k, g in zip(block.convs, (3, 5, 7, 9), (1, 4, 8, 16), strict=True):
        maps.append(F.conv2d(x, conv.weight, padding=k // 2, groups=g))
        z = maps[-1].mean((2, 3))
        scores.append(torch.sigmoid((z @ w0.T + b0).relu() @ w1.T + b1))
    total = sum(s.exp() for s in scores)
    weighted = [f * (s.exp() / total)[..., None, None] for f, s in zip(maps, scores, strict=True)]
    torch.testing.assert_close(block(x), torch.cat(weighted[::-1], 1))


def test_weights_are_limited_by_the_sigmoid(block, x):
    """However sure the gate is, no branch gets less than 1 / (1 + 3 e) or more than e / (e + 3)."""
    least, most = 1 / (1 + 3 * math.e), math.e / (math.e + 3)
    assert (round(least, 3), round(most, 3)) == (0.109, 0.475)
    for p in (block.squeeze.weight, block.excite.weight):
        nn.init.normal_(p, std=100)
    gate = gate_of(block, x)
    assert gate.shape == (2, 4, 16)
    torch.testing.assert_close(gate.sum(1), torch.ones(2, 16, dtype=torch.float64))
    assert gate.min() >= least - 1e-9 and gate.max() <= most + 1e-9
    block.squash = nn.Identity()
    free = gate_of(block, x)
    assert free.min() < 1e-3 and free.max() > 0.999


def test_a_branch_sees_all_channels(block, x):
    other = x.clone()
    other[:, 0] += 1
    changed = (block.convs[0](x) != block.convs[0](other)).any(3).any(2)
    assert changed.all()


@pytest.mark.parametrize(("dim", "hidden"), [(64, 1), (256, 4), (512, 8)])
def test_parameters(dim, hidden):
    convs = sum(k**2 * dim**2 // (4 * g) for k, g in zip((3, 5, 7, 9), (1, 4, 8, 16), strict=True))
    count = sum(p.numel() for p in PyramidSqueezeAttention(dim).parameters())
    assert count == convs + dim * hidden // 2 + hidden + dim // 4


def test_other_branches():
    torch.manual_seed(0)
    block = PyramidSqueezeAttention(24, kernel_sizes=(1, 3, 5), groups=(1, 2, 8)).eval()
    assert block(torch.randn(2, 24, 3, 1)).shape == (2, 24, 3, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 66}, r"dim / 4 must be a whole number .* got dim=66"),
        ({"dim": 32}, r"a multiple of each of groups=\(1, 4, 8, 16\); got dim=32"),
        ({"dim": 64, "kernel_sizes": (3, 4, 5, 7)}, r"kernel_sizes must be odd .* got \(3, 4, 5, 7\)"),
        ({"dim": 64, "groups": (1, 4)}, r"groups must be one positive number for each .* got \(1, 4\)"),
        ({"dim": 64, "groups": (1, 4, 0, 2)}, r"groups must be one positive number for each .* got \(1, 4, 0, 2\)"),
        ({"dim": 64, "kernel_sizes": (), "groups": ()}, r"groups must be one positive number for each .* got \(\)"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        PyramidSqueezeAttention(**arguments)
