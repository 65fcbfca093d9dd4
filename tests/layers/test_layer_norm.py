import pytest
import torch
from torch import nn

from stitchwork.layers import LayerNorm2d


def test_formula():
    """Over the channels of each pixel, with the variance of the population."""
    torch.manual_seed(0)
    norm = LayerNorm2d(6).double()
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -1, 1)
    x = 3 + 2 * torch.randn(2, 6, 5, 4, dtype=torch.double)
    mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    expected = (x - mean) / (variance + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_pixels_do_not_see_each_other():
    torch.manual_seed(0)
    x = torch.randn(1, 6, 5, 4, requires_grad=True)
    LayerNorm2d(6)(x)[0, :, 2, 1].square().sum().backward()
    norm = LayerNorm2d(6)
    other = x.detach().clone()
    other[0, :, 0, 0] *= 10
    y, changed = norm(x), norm(other)
    assert (y != changed).any(1).sum() == 1, "a pixel has changed others"


@pytest.mark.parametrize("eps", [1e-6, 1e-1])
def test_eps(eps):
    x = torch.tensor([-1e-2, 1e-2]).view(1, 2, 1, 1).double()
    y = LayerNorm2d(2, eps=eps).double()(x)
    torch.testing.assert_close(y, x / (1e-4 + eps) ** 0.5)


def test_starts_as_the_mere_normalisation():
    norm = LayerNorm2d(6)
    assert norm.weight.shape == norm.bias.shape == (6,)
    assert (norm.weight == 1).all() and (norm.bias == 0).all()


def test_layout_stays_channels_last():
    """There it is one kernel without a copy, and what follows stays in that layout."""
    torch.manual_seed(0)
    norm, x = LayerNorm2d(6), torch.randn(2, 6, 5, 4)
    y = norm(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, norm(x))
