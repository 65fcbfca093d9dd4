import pytest
import torch
import torch.nn.functional as F

from stitchwork.analysis import capture, gradient_support
from stitchwork.blocks.clo_attention import CloAttention, HighFrequency, LowFrequency


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_high_frequencies_equal_the_formula():
    torch.manual_seed(0)
    branch, x = HighFrequency(8, heads=2, head_dim=3, kernel_size=3).double(), noise(2, 8, 5, 4)
    q, k, v = F.conv2d(branch.qkv(x), branch.local.weight, branch.local.bias, padding=1, groups=18).chunk(3, 1)
    first, second = branch.mix[0], branch.mix[2]
    gate = torch.tanh(second(F.silu(first(q * k))) / 3**0.5)
    torch.testing.assert_close(branch(x), gate * v)


def test_gate_is_of_both_signs_and_bounded():
    torch.manual_seed(0)
    block = CloAttention(16).double()
    with capture(block, "*gate") as seen:
        block(noise(2, 16, 6, 6))
    (gate,) = seen.values()
    assert gate.shape == (2, 8, 6, 6)
    assert gate.min() < -0.1 and gate.max() > 0.1 and gate.abs().max() < 1


def test_high_frequencies_reach_the_kernel_and_no_further():
    torch.manual_seed(0)
    assert gradient_support(HighFrequency(8, 2, 3, kernel_size=5), (1, 8, 11, 11)).sum() == 25


def test_low_frequencies_without_pooling_are_plain_attention():
    torch.manual_seed(0)
    branch, x = LowFrequency(8, heads=2, head_dim=4, window_size=1).double(), noise(2, 8, 3, 5)
    q, k, v = (z.flatten(2).unflatten(1, (2, 4)).transpose(2, 3) for z in (branch.q(x), *branch.kv(x).chunk(2, 1)))
    y = (q @ k.transpose(2, 3) / 2).softmax(3) @ v  # (B, heads, HW, d)
    torch.testing.assert_close(branch(x), y.transpose(2, 3).reshape(2, 8, 3, 5))


@pytest.mark.parametrize(("size", "coarse"), [((6, 6), (2, 2)), ((7, 5), (3, 2)), ((1, 1), (1, 1)), ((2, 9), (1, 3))])
def test_incomplete_windows_are_averaged_over_what_they_have(size, coarse):
    """A constant image stays constant when it is averaged; with padding in the averages it would fade."""
    branch = LowFrequency(8, heads=2, head_dim=4, window_size=3)
    pooled = branch.pool(torch.full((1, 8, *size), 3.0))
    assert pooled.shape == (1, 8, *coarse)
    torch.testing.assert_close(pooled, torch.full_like(pooled, 3.0))
    assert branch(torch.randn(2, 8, *size)).shape == (2, 8, *size)


def test_low_frequencies_of_a_constant_image():
    """Whatever the weights are, they sum to one."""
    torch.manual_seed(0)
    branch, x = LowFrequency(8, 2, 4, window_size=2).double(), noise(1, 8, 1, 1).expand(1, 8, 5, 3)
    torch.testing.assert_close(branch(x), branch.kv(x).chunk(2, 1)[1])


@pytest.mark.parametrize(
    ("group_split", "kernel_sizes", "branches"),
    [((4, 0), (5,), 1), ((0, 4), (5,), 1), ((1, 1, 2), (3, 5), 3), ((2, 0, 2), (3, 5), 2), ((4,), (), 1)],
)
def test_groups_of_heads(group_split, kernel_sizes, branches):
    block = CloAttention(16, group_split=group_split, kernel_sizes=kernel_sizes)
    assert len(block.branches) == branches
    assert block(torch.randn(2, 16, 5, 7)).shape == (2, 16, 5, 7)


def test_without_low_frequencies_it_is_local():
    torch.manual_seed(0)
    block = CloAttention(16, group_split=(2, 2, 0), kernel_sizes=(3, 5))
    assert gradient_support(block, (1, 16, 11, 11)).sum() == 25


@pytest.mark.parametrize(("dim", "kernel"), [(64, 5), (24, 7)])
def test_parameters(dim, kernel):
    count = sum(p.numel() for p in CloAttention(dim, kernel_sizes=(kernel,)).parameters())
    assert 2 * count == 9 * dim**2 + 3 * kernel**2 * dim + 13 * dim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_split": (2, 1)}, r"group_split must be num_heads = 4 .* got \(2, 1\)"),
        ({"group_split": (4,)}, "in 2 parts"),
        ({"group_split": (5, -1)}, "group_split"),
        ({"kernel_sizes": (4,)}, r"kernel_sizes must be odd .* got \(4,\)"),
        ({"dim": 67}, "dim must be a multiple of num_heads=4; got dim=67"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        CloAttention(**{"dim": 16} | arguments)
