import math

import pytest
import torch

from stitchwork.blocks.aft_simple import AFTSimple


def projections(block, x):
    """Q, K and V as lists [pixel][channel] for the first image."""
    return (layer(x)[0].flatten(1).T.tolist() for layer in (block.query, block.key, block.value))


def test_equals_the_equation():
    """Equation 5 in plain Python."""
    torch.manual_seed(0)
    block, x = AFTSimple(3).double(), torch.randn(1, 3, 2, 4, dtype=torch.float64)
    q, k, v = projections(block, x)
    y = block(x)[0].flatten(1).T
    for channel in range(3):
        weights = [math.exp(row[channel]) for row in k]
        mean = sum(w * row[channel] for w, row in zip(weights, v)) / sum(weights)
        for pixel in range(8):
            assert y[pixel, channel].item() == pytest.approx(mean / (1 + math.exp(-q[pixel][channel])))


def test_large_keys():
    """The exponential of a thousand is no number; the weighted mean is the value of the winner."""
    block = AFTSimple(1)
    for layer, weight in ((block.query, 0.0), (block.key, 1.0), (block.value, 0.5)):
        torch.nn.init.constant_(layer.weight, weight)
    x = torch.tensor([[[[1000.0, -1000.0, 3.0]]]])
    torch.testing.assert_close(block(x), torch.full_like(x, 0.5 * 500))  # sigmoid(0) = 1/2


def test_one_pixel_gates_itself():
    torch.manual_seed(0)
    block, x = AFTSimple(8), torch.randn(2, 8, 1, 1)
    torch.testing.assert_close(block(x), block.query(x).sigmoid() * block.value(x))


def test_mean_is_the_same_at_every_pixel():
    torch.manual_seed(0)
    block, x = AFTSimple(8).double(), torch.randn(2, 8, 5, 7, dtype=torch.float64)
    mean = block(x) / block.query(x).sigmoid()
    torch.testing.assert_close(mean, mean[..., :1, :1].expand_as(mean))


def test_weights_can_be_hooked():
    block, seen = AFTSimple(8), []
    block.softmax.register_forward_hook(lambda module, inputs, output: seen.append(output))
    block(torch.randn(2, 8, 5, 7))
    assert seen[0].shape == (2, 8, 35)
    torch.testing.assert_close(seen[0].sum(2), torch.ones(2, 8))


@pytest.mark.parametrize("project", [False, True])
def test_parameters(project):
    count = sum(p.numel() for p in AFTSimple(24, project).parameters())
    assert count == (4 if project else 3) * (24**2 + 24)
