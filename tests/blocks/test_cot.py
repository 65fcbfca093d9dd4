import pytest
import torch

from stitchwork.analysis import capture
from stitchwork.blocks.cot import CoT, local_convolution


@pytest.fixture
def block():
    torch.manual_seed(0)
    return CoT(16).double().eval()


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("side", [1, 3, 5])
def test_local_convolution_equals_the_sum(side):
    v, weight = noise(2, 6, 4, 5), noise(2, 3, side**2, 4, 5)
    margin = side // 2
    expected = torch.zeros_like(v)
    for c in range(6):
        for i in range(4):
            for j in range(5):
                for n in range(side**2):
                    a, b = i + n // side - margin, j + n % side - margin
                    if 0 <= a < 4 and 0 <= b < 5:
                        expected[:, c, i, j] += weight[:, c % 3, n, i, j] * v[:, c, a, b]
    torch.testing.assert_close(local_convolution(v, weight), expected)


def test_each_pixel_can_copy_another_neighbour():
    """What no convolution can: the left half copies from the right, the right half from below."""
    v = noise(1, 8, 6, 6)
    weight = torch.zeros(1, 1, 9, 6, 6, dtype=torch.float64)
    weight[:, :, 5, :, :3] = 1
    weight[:, :, 7, :, 3:] = 1
    y = local_convolution(v, weight)
    torch.testing.assert_close(y[..., :3], v[..., 1:4])
    torch.testing.assert_close(y[..., :-1, 3:], v[..., 1:, 3:])


def test_dynamic_context_has_the_weights_that_the_pixel_makes(block):
    """Forward, step by step, with the weights that the GroupNorm gives."""
    x = noise(2, 16, 5, 6)
    with capture(block, "*") as seen, torch.no_grad():
        y = block(x)
    assert seen["weight"].shape == (2, 2 * 9, 5, 6)  # 16 / 8 maps of nine weights
    aggregated = local_convolution(seen["value"], seen["weight"].reshape(2, 2, 9, 5, 6))
    norm, _ = block.dynamic
    torch.testing.assert_close(seen["dynamic"], torch.nn.functional.silu(norm(aggregated)))
    torch.testing.assert_close(seen["choice"].sum(2), torch.ones(2, 16, 1, 1, dtype=torch.float64))
    share = seen["choice"][:, :, 0]
    torch.testing.assert_close(y, share * seen["dynamic"] + (1 - share) * seen["static"])


def test_weights_are_normalised_over_the_nine_and_the_image(block):
    with capture(block, "weight*") as seen, torch.no_grad():
        block(noise(2, 16, 7, 5) * 100)
    maps = seen["weight"].reshape(2, 2, -1)  # one map: nine weights at all pixels
    torch.testing.assert_close(maps.mean(2), torch.zeros(2, 2, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(maps.std(2, correction=0), torch.ones(2, 2, dtype=torch.float64), atol=1e-3, rtol=0)


def test_the_choice_looks_at_the_sum_of_the_contexts(block):
    with capture(block, "*") as seen, torch.no_grad():
        block(noise(2, 16, 5, 6))
    pooled = (seen["dynamic"] + seen["static"]).mean((2, 3), keepdim=True)
    logits = block.choose(pooled)
    torch.testing.assert_close(seen["choice"][:, 3, :, 0, 0], logits[:, 6:8, 0, 0].softmax(1))  # channel 3


def test_trains_with_a_single_image(block):
    block.train()(noise(1, 16, 4, 4)).sum().backward()
    assert block.choose[3].weight.grad.isfinite().all()


@pytest.mark.parametrize(("dim", "kernel_size"), [(64, 3), (128, 3), (24, 5)])
def test_parameters(dim, kernel_size):
    taps, hidden = kernel_size**2, max(dim // 2, 32)
    static = taps * dim**2 // 4
    weight = dim**2 + taps * dim**2 // 16 + 3 * taps * dim // 8
    choose = 3 * dim * hidden + 3 * hidden + 2 * dim
    count = sum(p.numel() for p in CoT(dim, kernel_size).parameters())
    assert count == static + weight + dim**2 + 7 * dim + choose


def test_refusals():
    with pytest.raises(ValueError, match=r"dim must be a multiple of 8.* got 67"):
        CoT(67)
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 2"):
        CoT(16, kernel_size=2)
