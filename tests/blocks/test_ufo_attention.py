import pytest
import torch
from torch import nn

from stitchwork.blocks.ufo_attention import UFOAttention


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = UFOAttention(8, num_heads=2).double()
    nn.init.normal_(block.gamma)
    return block


@pytest.fixture
def x():
    return torch.randn(2, 8, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def heads(layer, image):
    """A projection of one image as [head][pixel] vectors."""
    return layer(image[None])[0].reshape(2, 4, 12).permute(0, 2, 1)


def test_equals_the_equations(block, x):
    for image, y in zip(x, block(x)):
        q, k, v = (heads(layer, image) for layer in (block.query, block.key, block.value))
        result = []
        for head in range(2):
            gamma = block.gamma[head].item()
            context = sum(torch.outer(k[head, n], v[head, n]) for n in range(12))  # K^T V
            rows = torch.stack([gamma * row / row.norm() for row in context])
            result.append(torch.stack([gamma * query / query.norm() @ rows for query in q[head]]))
        expected = block.out(torch.cat(result, 1).T.reshape(1, 8, 3, 4))[0]
        torch.testing.assert_close(y, expected)


def test_brackets_either_way(block, x):
    """Without the norms (Q K^T) V = Q (K^T V); with them, the N x N form needs the lengths of the rows of K^T V."""
    q, k, v = (layer(x).reshape(2, 2, 4, 12).mT for layer in (block.query, block.key, block.value))  # (B, h, N, d)
    q = block.gamma * q / q.norm(dim=3, keepdim=True)
    lengths = (k.mT @ v).norm(dim=3)[:, :, None]  # (B, h, 1, d)
    quadratic = ((q * block.gamma / lengths) @ k.mT) @ v  # through an N x N matrix
    torch.testing.assert_close(block(x), block.out(quadratic.mT.reshape(x.shape)))


def test_zero_is_no_nan():
    block = UFOAttention(16)
    for layer in (block.query, block.key, block.value, block.out):
        nn.init.zeros_(layer.bias)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = torch.zeros(2, 16, 3, 3, dtype=dtype, requires_grad=True)
        y = block.to(dtype)(x)
        y.sum().backward()
        assert (y == 0).all() and x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in block.parameters())
        block.zero_grad()


def test_one_black_pixel():
    """A pixel of zeros has no query; the others are as they would be."""
    torch.manual_seed(0)
    block = UFOAttention(16)
    for layer in (block.query, block.key, block.value, block.out):
        nn.init.zeros_(layer.bias)
    x = torch.randn(1, 16, 3, 3)
    x[..., 1, 1] = 0
    y = block(x)
    assert y.isfinite().all() and (y[..., 1, 1] == 0).all() and (y[..., 0, 0] != 0).any()


def test_lengths_of_queries_and_keys_do_not_count(block, x):
    before = block(x)
    for layer, factor in ((block.query, 100), (block.key, 0.01)):
        layer.weight.data *= factor
        layer.bias.data *= factor
    torch.testing.assert_close(block(x), before)


@pytest.mark.parametrize(("dim", "num_heads"), [(64, 8), (24, 3), (7, 1)])
def test_parameters(dim, num_heads):
    assert sum(p.numel() for p in UFOAttention(dim, num_heads).parameters()) == 4 * (dim**2 + dim) + num_heads


def test_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="dim must be a multiple of num_heads=8; got dim=20"):
        UFOAttention(20)
