import pytest
import torch
from torch import nn

from stitchwork import create_block
from stitchwork.analysis import count_parameters
from stitchwork.layers import SqueezeExcite


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("act", "gate"), [(nn.ReLU, nn.Sigmoid), (nn.SiLU, nn.Sigmoid), (nn.ReLU, nn.Hardsigmoid)], ids=str
)
def test_formula(act, gate):
    """The means of the channels, a bottleneck of two matrices, and a factor for each channel."""
    module = SqueezeExcite(8, 3, act, gate).double()
    x = 3 * torch.randn(4, 8, 5, 7, dtype=torch.double)
    z = x.mean((2, 3)) @ module.squeeze.weight.flatten(1).T + module.squeeze.bias
    z = act()(z) @ module.excite.weight.flatten(1).T + module.excite.bias
    factors = gate()(z)
    assert (factors.std(0) > 1e-3).all()
    torch.testing.assert_close(module(x), x * factors[:, :, None, None])


@pytest.mark.parametrize(("dim", "hidden"), [(8, 2), (24, 6), (10, 3)])
def test_parameters(dim, hidden):
    """Two matrices with biases."""
    assert count_parameters(SqueezeExcite(dim, hidden)) == 2 * dim * hidden + hidden + dim


def test_is_the_published_module_with_biases():
    ours, published = SqueezeExcite(64, 4), create_block("se", 64, reduction=16)
    matrices = [p for p in published.parameters() if p.dim() > 1]
    with torch.no_grad():
        for layer, matrix in zip((ours.squeeze, ours.excite), matrices, strict=True):
            layer.weight.copy_(matrix.view(layer.weight.shape))
            layer.bias.zero_()
        for p in published.parameters():
            if p.dim() == 1:
                p.zero_()
    x = torch.randn(2, 64, 6, 5)
    torch.testing.assert_close(ours(x), published(x))


def test_a_closed_gate_silences_and_an_open_one_passes():
    module, x = SqueezeExcite(4, 2, gate=nn.Hardsigmoid), torch.randn(2, 4, 3, 3)
    nn.init.zeros_(module.excite.weight)
    nn.init.constant_(module.excite.bias, 3)
    assert torch.equal(module(x), x)
    nn.init.constant_(module.excite.bias, -3)
    assert not module(x).any()
