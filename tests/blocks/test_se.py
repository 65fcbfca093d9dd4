import math

import pytest
import torch
from torch import nn

from stitchwork.blocks.se import SqueezeExcitation


def naive(block, x):
    """Equations 2 to 4 of the paper in plain Python: loops over items, channels and units."""
    batch, channels, height, width = x.shape
    w1, w2 = block.squeeze.weight.flatten(1).tolist(), block.excite.weight.flatten(1).tolist()
    b1 = block.squeeze.bias.tolist() if block.squeeze.bias is not None else [0] * len(w1)
    b2 = block.excite.bias.tolist() if block.excite.bias is not None else [0] * len(w2)
    y = torch.empty_like(x)
    for b in range(batch):
        z = [sum(x[b, c].flatten().tolist()) / (height * width) for c in range(channels)]
        hidden = [max(0.0, sum(w * v for w, v in zip(row, z)) + bias) for row, bias in zip(w1, b1)]
        for c in range(channels):
            logit = sum(w * v for w, v in zip(w2[c], hidden)) + b2[c]
            y[b, c] = x[b, c] / (1 + math.exp(-logit))
    return y


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dim", [8, 20])
def test_equals_the_equations(dim, bias):
    torch.manual_seed(0)
    block = SqueezeExcitation(dim, reduction=4, bias=bias).double()
    x = 3 * torch.randn(2, dim, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(block(x), naive(block, x))


@pytest.mark.parametrize(("dim", "reduction"), [(64, 16), (100, 16), (8, 16)])
def test_parameters(dim, reduction):
    hidden = max(1, dim // reduction)
    with_bias, without = (
        sum(p.numel() for p in SqueezeExcitation(dim, reduction, bias).parameters()) for bias in (True, False)
    )
    assert without == 2 * dim * hidden  # equation 3
    assert with_bias == without + hidden + dim


def test_gate_is_a_sigmoid_that_hooks_can_see():
    block, seen = SqueezeExcitation(16), []
    assert isinstance(block.gate, nn.Sigmoid)
    block.gate.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = 5 * torch.randn(2, 16, 4, 4)
    y = block(x)
    assert seen[0].shape == (2, 16, 1, 1) and (seen[0] > 0).all() and (seen[0] < 1).all()
    torch.testing.assert_close(y, x * seen[0])


def test_zero_weights_halve():
    """sigmoid(0) = 1/2."""
    block = SqueezeExcitation(16)
    for p in block.parameters():
        nn.init.zeros_(p)
    x = torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(block(x), x / 2)
