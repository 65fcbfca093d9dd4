import pytest
import torch
from torch import nn

from stitchwork.blocks.weighted_permute_mlp import WeightedPermuteMLP, largest_divisor


@pytest.mark.parametrize(
    ("size", "segment_dim", "segments"),
    [
        ((4, 4), None, (4, 4)),
        ((4, 2), None, (4, 2)),
        ((3, 5), None, (2, 4)),
        ((3, 5), 2, (2, 2)),
        ((1, 9), None, (1, 8)),
    ],
)
def test_equals_the_equations(size, segment_dim, segments):
    """The three layers, number by number: which pixels and channels each mixes."""
    torch.manual_seed(0)
    height, width = size
    block = WeightedPermuteMLP(8, size, segment_dim, qkv_bias=True).double()
    x = torch.randn(1, 8, height, width, dtype=torch.float64)
    assert (8 // block.segment_h, 8 // block.segment_w) == segments
    h, w = torch.empty(8, height, width).double(), torch.empty(8, height, width).double()
    for column in range(width):
        for start in range(0, 8, block.segment_h):
            channels = range(start, start + block.segment_h)
            vector = torch.stack([x[0, c, i, column] for i in range(height) for c in channels])
            mixed = iter(block.mlp_h.weight @ vector + block.mlp_h.bias)
            for i in range(height):
                for c in channels:
                    h[c, i, column] = next(mixed)
    for row in range(height):
        for start in range(0, 8, block.segment_w):
            channels = range(start, start + block.segment_w)
            vector = torch.stack([x[0, c, row, j] for j in range(width) for c in channels])
            mixed = iter(block.mlp_w.weight @ vector + block.mlp_w.bias)
            for j in range(width):
                for c in channels:
                    w[c, row, j] = next(mixed)
    c = block.mlp_c(x)[0]
    first, act, second, _ = block.reweight
    logits = second(act(first((h + w + c).mean((1, 2))))).reshape(8, 3)
    a = logits.exp() / logits.exp().sum(1, keepdim=True)
    expected = block.project(sum(a[:, k, None, None] * branch for k, branch in enumerate((h, w, c)))[None])
    torch.testing.assert_close(block(x), expected)


def test_largest_divisor():
    assert [largest_divisor(64, n) for n in (1, 7, 8, 14, 16, 33, 64, 100)] == [1, 4, 8, 8, 16, 32, 64, 64]
    assert largest_divisor(67, 66) == 1


def one_branch(branch, size=(4, 4)):
    """The block with all the weight on one of its branches (h, w, c)."""
    torch.manual_seed(0)
    block = WeightedPermuteMLP(8, size)
    nn.init.zeros_(block.reweight[2].weight)
    block.reweight[2].bias.data = torch.full((8, 3), -1e4).index_fill_(1, torch.tensor([branch]), 0.0).flatten()
    return block


@pytest.mark.parametrize(("branch", "rows", "columns"), [(0, 4, 1), (1, 1, 4), (2, 1, 1)])
def test_each_branch_looks_along_its_axis(branch, rows, columns):
    block, x = one_branch(branch), torch.randn(1, 8, 4, 4, requires_grad=True)
    block(x)[0, :, 2, 1].sum().backward()
    reached = x.grad[0].abs().sum(0) > 0
    assert (reached.any(1).sum(), reached.any(0).sum()) == (rows, columns)
    assert reached[2, 1]


@pytest.mark.parametrize("axis", [2, 3])
def test_flip(axis):
    """What the positions are for: the columns' layer alone can turn the image upside down, the rows' left to right."""
    block, size = one_branch(axis - 2, (4, 4)), 4
    segment = 8 // size
    flip = torch.eye(size).flip(0)
    layer = block.mlp_h if axis == 2 else block.mlp_w
    layer.weight.data = torch.kron(flip, torch.eye(segment))
    block.project.weight.data = torch.eye(8)[..., None, None]
    nn.init.zeros_(block.project.bias)
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(block(x), x.flip(axis))


@pytest.mark.parametrize(("dim", "size"), [(64, (16, 16)), (64, (16, 8)), (24, (7, 5)), (2, (3, 3))])
def test_parameters(dim, size):
    block = WeightedPermuteMLP(dim, size)
    along = (size[0] * block.segment_h) ** 2 + (size[1] * block.segment_w) ** 2
    hidden = max(1, dim // 4)
    expected = along + 2 * dim**2 + dim + dim * hidden + hidden + 3 * dim * hidden + 3 * dim
    assert sum(p.numel() for p in block.parameters()) == expected


def test_layers_are_as_wide_as_the_channels_where_the_size_divides_them():
    block = WeightedPermuteMLP(64, (16, 8))
    assert block.mlp_h.in_features == block.mlp_w.in_features == 64


def test_refusals():
    with pytest.raises(ValueError, match="dim must be a multiple of segment_dim=7; got dim=64"):
        WeightedPermuteMLP(64, (14, 14), segment_dim=7)
    with pytest.raises(ValueError, match="size must be greater than 0; got 0"):
        WeightedPermuteMLP(64, (0, 14))
    with pytest.raises(ValueError, match=r"size \(4, 2\); got \(2, 4\): build it with size=\(2, 4\)"):
        WeightedPermuteMLP(8, (4, 2))(torch.zeros(1, 8, 2, 4))
