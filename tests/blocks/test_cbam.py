import pytest
import torch
from torch import nn

from stitchwork.blocks.cbam import CBAM, ChannelGate, SpatialGate


def gate_of(module, x):
    """What the module's sigmoid gives."""
    seen = []
    assert isinstance(module.gate, nn.Sigmoid)
    handle = module.gate.register_forward_hook(lambda m, inputs, output: seen.append(output))
    with torch.no_grad():
        module(x)
    handle.remove()
    return seen[0]


def identity_channel_gate(dim):
    """A channel gate whose MLP passes positive numbers through: relu(z) through unit matrices."""
    gate = ChannelGate(dim, reduction=1)
    for layer in (gate.mlp[0], gate.mlp[2]):
        layer.weight.data.copy_(torch.eye(dim)[..., None, None])
        layer.bias.data.zero_()
    return gate


def test_channel_gate_closed_form():
    """Mean and maximum go through one MLP and are added before the sigmoid: equation 2."""
    x = torch.zeros(1, 2, 2, 2)
    x[0, 0] = torch.tensor([[1.0, 3.0], [0.0, 0.0]])  # mean 1, maximum 3
    x[0, 1] = torch.tensor([[-2.0, -2.0], [-2.0, -2.0]])  # both cut off by the ReLU
    gate = gate_of(identity_channel_gate(2), x)
    assert gate.shape == (1, 2, 1, 1)
    torch.testing.assert_close(gate.flatten(), torch.sigmoid(torch.tensor([1.0 + 3.0, 0.0])))


def test_spatial_gate_closed_form():
    """The first plane is the maximum, the second the mean, as in the official code."""
    gate = SpatialGate(kernel_size=1).eval()
    x = torch.zeros(1, 4, 1, 2)
    x[0, :, 0, 0] = torch.tensor([5.0, 1.0, -1.0, -1.0])  # maximum 5, mean 1
    for weights, expected in (((1.0, 0.0), [5.0, 0.0]), ((0.0, 1.0), [1.0, 0.0])):
        gate.conv.weight.data.copy_(torch.tensor(weights).reshape(1, 2, 1, 1))
        logits = torch.tensor(expected) / (1 + 1e-5) ** 0.5  # the BatchNorm at its running statistics, 0 and 1
        torch.testing.assert_close(gate_of(gate, x).flatten(), torch.sigmoid(logits))


def test_spatial_gate_normalises():
    """In training the logits have mean 0 and variance 1 over batch and pixels, whatever the scale of the image."""
    torch.manual_seed(0)
    gate = SpatialGate()
    logits = torch.logit(gate_of(gate.train(), 1000 * torch.randn(4, 8, 16, 16)).double(), eps=1e-12)
    assert logits.mean().item() == pytest.approx(0, abs=1e-2)
    assert logits.std().item() == pytest.approx(1, abs=2e-2)


def test_channel_before_space():
    torch.manual_seed(0)
    block, x = CBAM(16, reduction=4).eval(), torch.randn(2, 16, 6, 7)
    torch.testing.assert_close(block(x), block.spatial(block.channel(x)))
    assert not torch.allclose(block(x), block.channel(block.spatial(x)), rtol=1e-3)


@pytest.mark.parametrize(("dim", "reduction", "kernel_size"), [(64, 16, 7), (24, 16, 3), (8, 16, 7)])
def test_parameters(dim, reduction, kernel_size):
    hidden = max(1, dim // reduction)
    expected = 2 * dim * hidden + hidden + dim + 2 * kernel_size**2 + 2
    assert sum(p.numel() for p in CBAM(dim, reduction, kernel_size).parameters()) == expected


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 4"):
        CBAM(16, kernel_size=4)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
def test_reach_of_the_spatial_gate(kernel_size):
    """A pixel moves the gates of its k x k surroundings and no others."""
    torch.manual_seed(0)
    gate, x = SpatialGate(kernel_size).eval(), torch.randn(1, 4, 15, 15)
    other = x.clone()
    other[..., 7, 7] += 10
    moved = (gate_of(gate, x) != gate_of(gate, other))[0, 0]
    assert moved.any(1).sum() == moved.any(0).sum() == kernel_size
