import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.blocks.safm import SAFM


def naive(block, x):
    """The equations with loops over the windows and the pixels."""
    height, width = x.shape[2:]
    views = []
    for level, part in enumerate(x.chunk(len(block.look), 1)):
        h, w = max(1, height // 2**level), max(1, width // 2**level)
        pooled = torch.empty(*part.shape[:2], h, w, dtype=x.dtype)
        for i in range(h):
            for j in range(w):
                rows = slice(i * height // h, math.ceil((i + 1) * height / h))
                columns = slice(j * width // w, math.ceil((j + 1) * width / w))
                pooled[..., i, j] = part[..., rows, columns].amax((2, 3))
        small = block.look[level](pooled)
        view = torch.empty_like(part)
        for i in range(height):
            for j in range(width):
                view[..., i, j] = small[..., i * h // height, j * w // width]
        views.append(view)
    return F.gelu(block.mix(torch.cat(views, 1))) * x


@pytest.mark.parametrize("size", [(8, 8), (9, 12), (7, 13), (1, 1), (1, 5), (3, 2)], ids="{0[0]}x{0[1]}".format)
def test_equals_the_equations(size):
    """Also where a side is not a multiple of 8, and where it is smaller than 8."""
    torch.manual_seed(0)
    block, x = SAFM(8).double(), torch.randn(2, 8, *size, dtype=torch.float64)
    torch.testing.assert_close(block(x), naive(block, x))


@pytest.mark.parametrize("n_levels", [1, 2, 3, 5])
def test_other_numbers_of_levels(n_levels):
    torch.manual_seed(0)
    block, x = SAFM(30, n_levels).double(), torch.randn(1, 30, 10, 7, dtype=torch.float64)
    torch.testing.assert_close(block(x), naive(block, x))


@pytest.mark.parametrize("size", [(16, 24), (13, 9), (3, 1)], ids="{0[0]}x{0[1]}".format)
def test_compiled_windows_are_those_of_eager_mode(size):
    """Values and gradients: the compiled program pools in another way."""
    torch.manual_seed(0)
    block, x = SAFM(8).double(), torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    results = []
    for run in (block, compiled):
        y = run(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), x)))
    for eager, other in zip(*results, strict=True):
        torch.testing.assert_close(eager, other)


def test_levels_look_at_growing_windows():
    """A peak in part i of the channels is seen, through the depthwise 3x3, 2^i pixels around its cell."""
    torch.manual_seed(0)
    block = SAFM(4).double()
    for look in block.look:
        nn.init.ones_(look.weight)
        nn.init.zeros_(look.bias)
    block.mix.weight.data.copy_(torch.eye(4)[..., None, None])
    nn.init.zeros_(block.mix.bias)
    x = torch.zeros(1, 4, 32, 32, dtype=torch.float64)
    x[..., 16, 16] = 10.0
    seen = []
    block.mix.register_forward_hook(lambda m, inputs, output: seen.append(output))
    block(x)
    sides = [(int((view > 0).any(1).sum()), int((view > 0).any(0).sum())) for view in seen[0][0]]
    assert sides == [(3, 3), (6, 6), (12, 12), (24, 24)]


def test_modulation_is_a_factor():
    """A pixel that is zero stays zero, and the factor is not a probability."""
    torch.manual_seed(0)
    block, x = SAFM(8), 5 * torch.randn(1, 8, 9, 9)
    x[..., 4, 4] = 0
    y = block(x)
    assert (y[..., 4, 4] == 0).all()
    factor = (y / x)[x != 0]
    assert factor.min() < 0 and factor.max() > 1


@pytest.mark.parametrize(("dim", "n_levels"), [(64, 4), (36, 4), (30, 3)])
def test_parameters(dim, n_levels):
    assert sum(p.numel() for p in SAFM(dim, n_levels).parameters()) == 10 * dim + dim**2 + dim


def test_width_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"dim must be a multiple of n_levels=4; got dim=30: use other n_levels"):
        SAFM(30)
