import math

import pytest
import torch
from torch import nn

from stitchwork.blocks.aft_full import AFTFull
from stitchwork.blocks.aft_local import AFTLocal, beyond
from stitchwork.blocks.aft_simple import AFTSimple


@pytest.mark.parametrize(("size", "window_size"), [((4, 5), 2), ((3, 3), 1), ((2, 6), 3), ((1, 1), 2)])
def test_equals_the_equation(size, window_size):
    """Equations 2 and 4 in plain Python: w inside the window, 0 outside."""
    torch.manual_seed(0)
    height, width = size
    block = AFTLocal(2, size, window_size).double()
    nn.init.normal_(block.position_bias)
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    q, k, v = (layer(x)[0].tolist() for layer in (block.query, block.key, block.value))
    y = block(x)[0]
    for c in range(2):
        for i in range(height):
            for j in range(width):
                above = below = 0.0
                for m in range(height):
                    for n in range(width):
                        near = abs(m - i) < window_size and abs(n - j) < window_size
                        down, right = m - i + window_size - 1, n - j + window_size - 1
                        w = block.position_bias[down, right, i, j].item() if near else 0.0
                        weight = math.exp(k[c][m][n] + w)
                        above, below = above + weight * v[c][m][n], below + weight
                assert y[c, i, j].item() == pytest.approx(above / below / (1 + math.exp(-q[c][i][j])))


def test_without_positions_it_is_aft_simple():
    torch.manual_seed(0)
    local, simple = AFTLocal(8, (6, 7), window_size=2), AFTSimple(8)
    nn.init.zeros_(local.position_bias)
    simple.load_state_dict({k: v for k, v in local.state_dict().items() if k != "position_bias"})
    x = torch.randn(2, 8, 6, 7)
    torch.testing.assert_close(local(x), simple(x))


def test_a_window_over_everything_is_aft_full():
    torch.manual_seed(0)
    local, full = AFTLocal(8, (1, 4), window_size=4).double(), AFTFull(8, (1, 4)).double()
    nn.init.normal_(local.position_bias)
    table = [[local.position_bias[3, s - t + 3, 0, t].item() for s in range(4)] for t in range(4)]
    shared = {k: v for k, v in local.state_dict().items() if k != "position_bias"}
    full.load_state_dict(shared | {"position_bias": torch.tensor(table)})
    x = torch.randn(2, 8, 1, 4, dtype=torch.float64)
    torch.testing.assert_close(local(x), full(x))


def identity(size, window_size):
    """One channel that is its own key and value; the gate is a half."""
    block = AFTLocal(1, size, window_size)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    nn.init.ones_(block.key.weight)
    nn.init.ones_(block.value.weight)
    return block


def test_a_silenced_giant():
    """A pixel that is e^20 ahead and silenced by its neighbours' w = -40: what remains is not rounding noise.

    A sum over everything less the window would be 1 - 1, to seven digits.
    """
    block = identity((1, 5), window_size=2)
    block.position_bias.data[1, 1, 0, 2] = -40.0  # the giant, at pixel 2, as it sees itself
    y = block(torch.tensor([[[[0.0, 1.0, 20.0, 1.0, 0.0]]]]))
    expected = 2 * math.e / (2 * math.e + 2) / 2
    assert y[0, 0, 0, 2].item() == pytest.approx(expected, rel=1e-5)
    assert y[0, 0, 0, 0].item() == pytest.approx(10, rel=1e-5)  # the others still see it


def test_large_numbers_do_not_overflow():
    """Keys of a thousand, and position weights of a thousand at one pixel."""
    block = identity((1, 4), window_size=2)
    block.position_bias.data[1, 2] = 2.0  # everyone's neighbour to the right
    block.position_bias.data[1, :, 0, 3] = 1000.0  # all that the last pixel sees in its window
    x = torch.tensor([[[[998.0, 1000.0, 999.0, 1000.0]]]], requires_grad=True)
    y = block(x)
    y.sum().backward()
    ahead = torch.tensor([[0.0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2], [0, 0, 1000, 1000]])
    expected = (x[0, 0] + ahead).softmax(1) @ x[0, 0, 0] / 2
    torch.testing.assert_close(y[0, 0, 0], expected)
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("distance", [1, 2, 5, 9])
def test_beyond(distance):
    x = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = [[sum(row[j].item() for j in range(6) if abs(j - i) >= distance) for i in range(6)] for row in x]
    torch.testing.assert_close(beyond(x, distance), torch.tensor(expected, dtype=torch.float64))


def test_parameters_grow_with_the_pixels_only():
    for size, window_size in (((6, 7), 2), ((12, 7), 2), ((6, 7), 4)):
        count = sum(p.numel() for p in AFTLocal(8, size, window_size).parameters())
        assert count == 3 * (8**2 + 8) + (2 * window_size - 1) ** 2 * size[0] * size[1]
