import pytest
import torch

from stitchwork.analysis import capture
from stitchwork.blocks.gated_dilated_inception import DilatedInception, GatedDilatedInception
from stitchwork.transcriptions import transcribe


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_bank_equals_the_sum():
    """Tap by tap; every kernel ends at the same step, the last one at the last."""
    torch.manual_seed(0)
    bank, x = DilatedInception(4, kernel_set=(2, 3), dilation_factor=3).double(), noise(2, 4, 2, 10)
    expected = []
    for conv, length in zip(bank.convs, (2, 3)):
        for out in range(2):
            steps = []
            for t in range(6, 10):
                taps = (conv.weight[out, :, 0, k] @ x[:, :, :, t - 3 * (length - 1 - k)] for k in range(length))
                steps.append(sum(taps) + conv.bias[out])
            expected.append(torch.stack(steps, 2))  # (B, N, 4)
    torch.testing.assert_close(bank(x), torch.stack(expected, 1))


def test_gate():
    torch.manual_seed(0)
    block, x = GatedDilatedInception(8).double(), noise(2, 8, 3, 20)
    with capture(block, "*") as seen:
        y = block(x)
    torch.testing.assert_close(seen["tanh"], block.filter(x).tanh())
    torch.testing.assert_close(seen["sigmoid"], block.gate(x).sigmoid())
    torch.testing.assert_close(y, seen["tanh"] * seen["sigmoid"])


def test_a_period_is_found():
    """A kernel of two taps d apart sees whether a series repeats itself after d steps."""
    block = GatedDilatedInception(4, dilation_factor=7)
    for bank in (block.filter, block.gate):
        for conv in bank.convs:
            torch.nn.init.zeros_(conv.weight)
            torch.nn.init.zeros_(conv.bias)
    block.filter.convs[0].weight.data[0, 0, 0] = torch.tensor([1.0, -1.0])
    week = torch.randn(7).repeat(8)
    x = torch.zeros(1, 4, 2, 56)
    x[0, 0, 0], x[0, 0, 1] = week, torch.randn(56)
    y = block(x)[0, 0]
    assert y[0].abs().max() == 0 and y[1].abs().max() > 0.1


@pytest.mark.parametrize("arguments", [{}, {"dilation_factor": 1}, {"kernel_set": (3, 1)}, {"kernel_set": (5,)}])
def test_equals_eight_convolutions(arguments):
    torch.manual_seed(0)
    block = GatedDilatedInception(8, **arguments).double()
    x = noise(2, 8, 3, 17).requires_grad_()
    ours, plain = block(x), transcribe("gated_dilated_inception", block)(x)
    torch.testing.assert_close(ours, plain)
    of_ours, of_plain = (torch.autograd.grad(y.square().sum(), x)[0] for y in (ours, plain))
    torch.testing.assert_close(of_ours, of_plain)


@pytest.mark.parametrize(("dilation", "least"), [(1, 7), (2, 13), (4, 25)])
def test_lengths(dilation, least):
    block = GatedDilatedInception(8, dilation_factor=dilation)
    assert block(torch.randn(2, 8, 1, least)).shape == (2, 8, 1, 1)
    assert block(torch.randn(2, 8, 5, least + 9)).shape == (2, 8, 5, 10)
    with pytest.raises(ValueError, match=rf"at least {least} steps; got shape \(2, 8, 5, {least - 1}\)"):
        block(torch.randn(2, 8, 5, least - 1))


def test_the_series_are_not_mixed():
    torch.manual_seed(0)
    block, x = GatedDilatedInception(8), torch.randn(1, 8, 4, 20)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(block(x[:, :, order]), block(x)[:, :, order])


@pytest.mark.parametrize("dim", [32, 64])
def test_parameters(dim):
    assert sum(p.numel() for p in GatedDilatedInception(dim).parameters()) == 9 * dim**2 + 2 * dim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 67}, "dim must be a multiple of 4, .* got 67"),
        ({"kernel_set": ()}, r"kernel_set must be .* got \(\)"),
        ({"kernel_set": (2, 0)}, "lengths of at least 1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        GatedDilatedInception(**{"dim": 8} | arguments)
