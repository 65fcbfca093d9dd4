import pytest
import torch
from contract.probes import exact

from stitchwork.analysis import capture, gradient_support
from stitchwork.blocks.criss_cross import CrissCrossAttention


def over_all_pairs(block, x):
    """The same as attention of all pixels to all, with the pairs that share neither row nor column masked."""
    batch, channels, height, width = x.shape
    pixels = x.flatten(2).transpose(1, 2)  # (B, N, C)
    row, column = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    cross = (row[:, None] == row) | (column[:, None] == column)
    logits = block.query(pixels) @ block.key(pixels).transpose(1, 2)
    y = logits.masked_fill(~cross, -torch.inf).softmax(2) @ block.value(pixels)
    return x + block.gamma * y.transpose(1, 2).reshape(batch, channels, height, width)


@pytest.mark.parametrize("size", [(6, 9), (1, 5), (5, 1), (1, 1)])
def test_masked_attention_of_all_pairs(size):
    torch.manual_seed(0)
    block, x = exact(lambda: CrissCrossAttention(16)), torch.randn(2, 16, *size).double()
    torch.testing.assert_close(block(x), over_all_pairs(block, x))


def test_a_pixel_counts_once():
    """Where all pixels are equal, so are the H + W - 1 weights; the pixel's place in the column has none."""
    block, x = CrissCrossAttention(8).double(), torch.ones(1, 8, 4, 6).double()
    with capture(block, "softmax") as seen:
        block(x)
    weights = seen["softmax"]  # (1, H, W, H + W)
    itself = torch.eye(4, 10, dtype=torch.bool)[None, :, None].expand_as(weights)
    assert (weights[itself] == 0).all()
    torch.testing.assert_close(weights[~itself], torch.full_like(weights[~itself], 1 / 9))


def test_recurrence_is_the_same_attention_again():
    torch.manual_seed(0)
    once = exact(lambda: CrissCrossAttention(16))
    twice = CrissCrossAttention(16, recurrence=2).double()
    twice.load_state_dict(once.state_dict())
    x = torch.randn(2, 16, 5, 7).double()
    torch.testing.assert_close(twice(x), once(once(x)))


@pytest.mark.parametrize(("recurrence", "reached"), [(1, 9 + 11 - 1), (2, 9 * 11)])
def test_reach(recurrence, reached):
    block = CrissCrossAttention(16, recurrence=recurrence)
    block.gamma.data.fill_(1)
    assert int(gradient_support(block, (1, 16, 9, 11)).sum()) == reached


def test_starts_as_identity():
    x = torch.randn(2, 16, 5, 6)
    assert torch.equal(CrissCrossAttention(16, recurrence=2)(x), x)


@pytest.mark.parametrize(("dim", "reduction", "width"), [(64, 8, 8), (67, 8, 8), (64, 2, 32), (4, 8, 1)])
def test_parameters(dim, reduction, width):
    expected = 2 * (dim * width + width) + dim * dim + dim + 1
    assert sum(p.numel() for p in CrissCrossAttention(dim, reduction).parameters()) == expected
