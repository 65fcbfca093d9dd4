import pytest
import torch
import torch.nn.functional as F

from stitchwork.blocks.efficient_additive_attention import EfficientAdditiveAttention


@pytest.fixture
def block():
    torch.manual_seed(0)
    return EfficientAdditiveAttention(6).double()


@pytest.fixture
def x():
    return torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_equals_the_equations(block, x):
    """Equations 3 to 5, pixel by pixel."""
    wq, wk, wp, wo = (layer.weight.flatten(1) for layer in (block.query, block.key, block.project, block.out))
    y = torch.empty_like(x)
    for b in range(2):
        pixels = x[b].flatten(1).unbind(1)
        queries = [F.normalize(wq @ p + block.query.bias, dim=0) for p in pixels]
        keys = [F.normalize(wk @ p + block.key.bias, dim=0) for p in pixels]
        weights = F.normalize(torch.stack([q @ block.weight[:, 0] for q in queries]), dim=0)
        shared = sum(a * q for a, q in zip(weights, queries))
        out = [wo @ (wp @ (shared * k) + block.project.bias + q) + block.out.bias for q, k in zip(queries, keys)]
        y[b] = torch.stack(out, 1).reshape(6, 3, 4)
    torch.testing.assert_close(block(x), y)


def test_only_the_direction_of_the_learned_vector_counts(block, x):
    """Why the official code's division by sqrt(D) has no effect."""
    before = block(x)
    block.weight.data *= 7
    torch.testing.assert_close(block(x), before)
    block.weight.data *= -1  # the weights may be negative: both they and the sign of the query turn round
    assert not torch.allclose(block(x), before, rtol=1e-2)


def test_other_pixels_reach_a_pixel_through_one_vector(block, x):
    """Two images that share a pixel and the global query share the output there, whatever else they hold."""
    seen = []
    block.project.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    block(x)
    key = F.normalize(block.key(x), dim=1)
    ratio = seen[0] / key
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))


def test_output_keeps_the_scale_of_the_input():
    torch.manual_seed(0)
    for dim in (16, 64, 256):
        y = EfficientAdditiveAttention(dim)(torch.randn(4, dim, 8, 8))
        assert 0.5 < y.std().item() < 2


@pytest.mark.parametrize(("dim", "num_heads"), [(64, 1), (24, 2), (7, 3)])
def test_parameters(dim, num_heads):
    width = num_heads * dim
    block = EfficientAdditiveAttention(dim, num_heads)
    assert sum(p.numel() for p in block.parameters()) == 3 * dim * width + width**2 + 4 * width + dim
    assert block(torch.randn(2, dim, 3, 2)).shape == (2, dim, 3, 2)
