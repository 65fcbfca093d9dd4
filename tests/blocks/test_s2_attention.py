import pytest
import torch
from torch import nn

from stitchwork.analysis import gradient_support
from stitchwork.blocks.s2_attention import DIRECTIONS, S2Attention, shift


@pytest.mark.parametrize(
    ("axis", "step", "expected"),
    [
        (2, 1, [[1, 2, 3], [1, 2, 3], [4, 5, 6]]),
        (2, -1, [[4, 5, 6], [7, 8, 9], [7, 8, 9]]),
        (3, 1, [[1, 1, 2], [4, 4, 5], [7, 7, 8]]),
        (3, -1, [[2, 3, 3], [5, 6, 6], [8, 9, 9]]),
    ],
)
def test_shift(axis, step, expected):
    """One pixel, and no more: the line that is left free keeps its values."""
    x = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    assert shift(x, axis, step)[0, 0].tolist() == expected
    assert x.flatten().tolist() == list(range(1, 10))


def test_shift_of_a_single_line():
    x = torch.randn(1, 2, 1, 3)
    assert torch.equal(shift(x, 2, 1), x) and torch.equal(shift(x, 2, -1), x)


def test_directions():
    """Both versions go in all four directions, and each quarter of the channels along one axis in each."""
    assert len(set(DIRECTIONS[0])) == len(set(DIRECTIONS[1])) == 4
    assert all(first[0] != second[0] for first, second in zip(*DIRECTIONS))


def test_equals_the_equations():
    """Pixel by pixel: where each quarter of each version comes from, and how they are weighed."""
    torch.manual_seed(0)
    block, x = S2Attention(8).double(), torch.randn(1, 8, 3, 4, dtype=torch.float64)
    expanded = block.expand(x)[0]
    # Whence a pixel comes, for each quarter: from above, below, left, right; the other way round in the second version.
    sources = [[(-1, 0), (1, 0), (0, -1), (0, 1)], [(0, -1), (0, 1), (-1, 0), (1, 0)], [(0, 0)] * 4]
    versions = torch.empty(3, 8, 3, 4, dtype=torch.float64)
    for version in range(3):
        for channel in range(8):
            down, right = sources[version][channel // 2]
            for i in range(3):
                for j in range(4):
                    m, n = min(max(i + down, 0), 2), min(max(j + right, 0), 3)
                    versions[version, channel, i, j] = expanded[8 * version + channel, m, n]
    first, _, second, _ = block.reweight
    hidden = nn.functional.gelu(first.weight @ versions.sum((0, 2, 3)))
    logits = (second.weight @ hidden).reshape(3, 8)
    weights = logits.exp() / logits.exp().sum(0)
    expected = block.project((weights[:, :, None, None] * versions).sum(0)[None])
    torch.testing.assert_close(block(x), expected)


def test_five_pixels_reach_a_pixel():
    """Beside the weights of the versions, which see everything and are held fixed here."""

    class Fixed(S2Attention):
        def __init__(self, dim):
            super().__init__(dim)
            nn.init.zeros_(self.reweight[0].weight)

    torch.manual_seed(0)
    support = gradient_support(Fixed(16), (1, 16, 7, 7))
    assert support.nonzero().tolist() == [[2, 3], [3, 2], [3, 3], [3, 4], [4, 3]]


@pytest.mark.parametrize("dim", [1, 2, 7, 64])
def test_parameters(dim):
    block = S2Attention(dim)
    assert sum(p.numel() for p in block.parameters()) == 8 * dim**2 + 4 * dim
    assert sum(block.quarters) == dim
    assert block(torch.randn(2, dim, 3, 1)).shape == (2, dim, 3, 1)
