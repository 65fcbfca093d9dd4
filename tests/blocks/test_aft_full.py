import math

import pytest
import torch
from torch import nn

from stitchwork.blocks.aft_full import AFTFull
from stitchwork.blocks.aft_simple import AFTSimple


def test_equals_the_equation():
    """Equation 2 in plain Python, for every pixel and channel."""
    torch.manual_seed(0)
    block, x = AFTFull(2, (2, 3)).double(), torch.randn(1, 2, 2, 3, dtype=torch.float64)
    nn.init.normal_(block.position_bias)
    w = block.position_bias.tolist()
    q, k, v = (layer(x)[0].flatten(1).tolist() for layer in (block.query, block.key, block.value))
    y = block(x)[0].flatten(1)
    for c in range(2):
        for t in range(6):
            weights = [math.exp(k[c][s] + w[t][s]) for s in range(6)]
            mean = sum(weight * value for weight, value in zip(weights, v[c])) / sum(weights)
            assert y[c, t].item() == pytest.approx(mean / (1 + math.exp(-q[c][t])))


def identity(size):
    """One channel that is its own key, and its own value; the gate is a half."""
    block = AFTFull(1, size)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    nn.init.ones_(block.key.weight)
    nn.init.ones_(block.value.weight)
    return block


def test_large_numbers_do_not_overflow():
    """Keys and position weights of a thousand: only what they are ahead of each other counts."""
    block = identity((1, 3))
    block.position_bias.data[1] = torch.tensor([3000.0, 3002.0, 3000.0])
    y = block(torch.tensor([[[[1000.0, 999.0, -500.0]]]]))
    first, second = 1000 - 1 / (1 + math.e), 1000 - 1 / (1 + math.exp(-1))
    torch.testing.assert_close(y, torch.tensor([[[[first / 2, second / 2, first / 2]]]]))


def test_keys_and_positions_that_contradict_each_other():
    """Where all weights underflow, the keys decide: no 0/0."""
    block = identity((1, 2))
    block.position_bias.data[:] = torch.tensor([-500.0, 0.0])
    x = torch.tensor([[[[400.0, 0.0]]]], requires_grad=True)
    y = block(x)
    y.sum().backward()
    torch.testing.assert_close(y, torch.full_like(y, 200.0))
    assert x.grad.isfinite().all()


def test_a_number_for_a_whole_row_changes_nothing():
    torch.manual_seed(0)
    block, x = AFTFull(8, (3, 4)).double(), torch.randn(2, 8, 3, 4, dtype=torch.float64)
    before = block(x)
    block.position_bias.data += 50 * torch.randn(12, 1, dtype=torch.float64)
    torch.testing.assert_close(block(x), before)
    block.position_bias.data += torch.randn(1, 12, dtype=torch.float64)
    assert not torch.allclose(block(x), before, rtol=1e-2)


def test_without_positions_it_is_aft_simple():
    torch.manual_seed(0)
    full, simple = AFTFull(8, (3, 4)), AFTSimple(8)
    nn.init.constant_(full.position_bias, 0.7)
    simple.load_state_dict({k: v for k, v in full.state_dict().items() if k != "position_bias"})
    x = torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(full(x), simple(x))


@pytest.mark.parametrize(("size", "project"), [((14, 14), False), ((3, 5), True)])
def test_parameters(size, project):
    count = sum(p.numel() for p in AFTFull(24, size, project).parameters())
    assert count == (4 if project else 3) * (24**2 + 24) + (size[0] * size[1]) ** 2


def test_sizes_are_refused():
    with pytest.raises(ValueError, match="AFTFull: size must be greater than 0; got 0"):
        AFTFull(8, (3, 0))
    with pytest.raises(ValueError, match=r"size \(3, 5\); got \(5, 3\): build it with size=\(5, 3\)"):
        AFTFull(8, (3, 5))(torch.zeros(1, 8, 5, 3))
