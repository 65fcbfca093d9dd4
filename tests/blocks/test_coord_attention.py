import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.blocks.coord_attention import CoordAttention


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = CoordAttention(16).double().eval()
    nn.init.uniform_(block.mix[1].running_mean, -0.5, 0.5)
    nn.init.uniform_(block.mix[1].running_var, 0.5, 1.5)
    return block


@pytest.fixture
def x():
    return torch.randn(2, 16, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gates(block, x):
    seen = {}
    handles = [
        getattr(block, name).register_forward_hook(lambda m, i, output, name=name: seen.update({name: output}))
        for name in ("gate_h", "gate_w")
    ]
    with torch.no_grad():
        block(x)
    for handle in handles:
        handle.remove()
    return seen["gate_h"], seen["gate_w"]


def test_equals_the_equations(block, x):
    """Equations 4 to 9, row by row and column by column."""
    w1, b1, norm = block.mix[0].weight[..., 0, 0], block.mix[0].bias, block.mix[1]
    wh, bh = block.conv_h.weight[..., 0, 0], block.conv_h.bias
    ww, bw = block.conv_w.weight[..., 0, 0], block.conv_w.bias

    def bottleneck(z):
        f = (w1 @ z + b1 - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        return f * F.relu6(f + 3) / 6  # hard swish

    y = torch.empty_like(x)
    for b in range(2):
        row_gates = [torch.sigmoid(wh @ bottleneck(x[b, :, i].mean(1)) + bh) for i in range(5)]
        column_gates = [torch.sigmoid(ww @ bottleneck(x[b, :, :, j].mean(1)) + bw) for j in range(7)]
        for i in range(5):
            for j in range(7):
                y[b, :, i, j] = x[b, :, i, j] * row_gates[i] * column_gates[j]
    torch.testing.assert_close(block(x), y)


def test_gate_depends_on_its_row_and_column_only(block, x):
    """Changing one pixel moves the gates of its row and of its column, and none else."""
    other = x.clone()
    other[0, :, 2, 4] += 3
    (gate_h, gate_w), (gate_h_other, gate_w_other) = gates(block, x), gates(block, other)
    assert gate_h.shape == (2, 16, 5, 1) and gate_w.shape == (2, 16, 1, 7)
    assert (gate_h != gate_h_other).any(1)[0, :, 0].tolist() == [False, False, True, False, False]
    assert (gate_w != gate_w_other).any(1)[0, 0].tolist() == [False] * 4 + [True] + [False] * 2


def test_gate_is_an_outer_product(block, x):
    """y / x is of rank one in every channel."""
    gate = block(x) / x
    torch.testing.assert_close(gate * gate[..., :1, :1], gate[..., :1] * gate[..., :1, :])
    assert (gate > 0).all() and (gate < 1).all()


def test_rows_are_height(block, x):
    """An image whose rows are alike has one gate for all rows, and different gates for the columns."""
    stripes = x[:, :, :1].expand(-1, -1, 5, -1)
    gate_h, gate_w = gates(block, stripes)
    torch.testing.assert_close(gate_h, gate_h[:, :, :1].expand_as(gate_h))
    assert (gate_w[..., 1:] - gate_w[..., :1]).abs().amin((2, 3)).max() > 1e-4


@pytest.mark.parametrize(("dim", "reduction", "hidden"), [(64, 32, 8), (512, 32, 16), (64, 4, 16), (1, 32, 8)])
def test_parameters(dim, reduction, hidden):
    count = sum(p.numel() for p in CoordAttention(dim, reduction).parameters())
    assert count == 3 * dim * hidden + 3 * hidden + 2 * dim
