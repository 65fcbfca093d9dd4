import math

import pytest
import torch
import torch.nn.functional as F

from stitchwork.blocks.fca import TOP, FrequencyChannelAttention, cosine


def summaries(block, x):
    """What goes into the bottleneck: z (B, C)."""
    seen = []
    handle = block.squeeze.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        block(x)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("size", [(7, 7), (14, 7), (10, 22)])
def test_equals_the_formula(size):
    """Every channel's component, summed over the pixels in plain Python."""
    height, width = size
    block = FrequencyChannelAttention(32, size, reduction=8)
    x = torch.randn(1, 32, *size, generator=torch.Generator().manual_seed(0))
    expected = []
    for c in range(32):
        u, v = TOP[c // 2]  # 16 frequencies for groups of two channels
        u, v = u * (height // 7), v * (width // 7)
        scale = math.sqrt((2 if u else 1) / height) * math.sqrt((2 if v else 1) / width)
        z = sum(
            x[0, c, i, j].item()
            * math.cos(math.pi * u * (i + 0.5) / height)
            * math.cos(math.pi * v * (j + 0.5) / width)
            for i in range(height)
            for j in range(width)
        )
        expected.append(scale * z)
    torch.testing.assert_close(summaries(block, x)[0], torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(14, 14), (28, 56), (9, 33), (5, 3), (1, 1)])
def test_other_sizes_are_pooled_to_the_grid(shape):
    block = FrequencyChannelAttention(64)
    x = torch.randn(2, 64, *shape, generator=torch.Generator().manual_seed(0))
    pooled = F.adaptive_avg_pool2d(x, (14, 14))
    torch.testing.assert_close(summaries(block, x), summaries(block, pooled), rtol=1e-4, atol=1e-5)


def test_basis_is_orthonormal():
    basis = torch.stack([cosine(frequency, 7) for frequency in range(7)])
    torch.testing.assert_close(basis @ basis.T, torch.eye(7, dtype=torch.float64))


@pytest.mark.parametrize("size", [(7, 7), (14, 21)])
def test_lowest_frequency_is_the_mean(size):
    """Squeeze-and-Excitation but for the factor sqrt(h w)."""
    block = FrequencyChannelAttention(6, size, reduction=2, frequencies=TOP[:1])
    x = torch.randn(2, 6, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(summaries(block, x), x.mean((2, 3)) * math.sqrt(math.prod(size)))


def test_stripes_of_mean_zero_are_seen():
    """Each group answers to stripes of its own frequency and to no other group's."""
    block = FrequencyChannelAttention(16, (7, 7), reduction=1)
    for group, (u, v) in enumerate(TOP[:16]):
        stripes = torch.outer(cosine(u, 7), cosine(v, 7)).float().expand(1, 16, 7, 7)
        torch.testing.assert_close(summaries(block, stripes)[0], torch.eye(16)[group], rtol=0, atol=1e-6)


def test_single_pixel_has_the_frequency_zero_alone():
    z = summaries(FrequencyChannelAttention(64), torch.ones(1, 64, 1, 1))[0].reshape(16, 4)
    torch.testing.assert_close(z[0], torch.full((4,), 14.0))
    assert z[1:].abs().max() < 1e-5


def test_frequencies_are_distinct():
    assert len(set(TOP)) == len(TOP) == 32 and all(0 <= f < 7 for pair in TOP for f in pair)


@pytest.mark.parametrize(("dim", "reduction", "hidden"), [(64, 16, 4), (128, 8, 16), (16, 32, 1)])
def test_parameters(dim, reduction, hidden):
    block = FrequencyChannelAttention(dim, reduction=reduction)
    assert sum(p.numel() for p in block.parameters()) == 2 * dim * hidden
    assert "filters" in block.state_dict()


@pytest.mark.parametrize("size", [(6, 14), (14, 6), (1, 1)])
def test_grid_on_which_frequencies_coincide_is_refused(size):
    with pytest.raises(ValueError, match=rf"size must be at least \(7, 7\).*got \({size[0]}, {size[1]}\)"):
        FrequencyChannelAttention(64, size)


@pytest.mark.parametrize("frequencies", [(), ((0, 7),), ((-1, 0),)])
def test_frequencies_out_of_range_are_refused(frequencies):
    with pytest.raises(ValueError, match=r"frequencies must be pairs of numbers from 0 to 6; got"):
        FrequencyChannelAttention(64, frequencies=frequencies)


def test_width_that_the_frequencies_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"dim must be a multiple of the 16 frequencies; got 72"):
        FrequencyChannelAttention(72)
    FrequencyChannelAttention(72, frequencies=TOP[:8])
