import pytest
import torch

from stitchwork.analysis import capture, count_multiply_adds
from stitchwork.blocks.double_attention import DoubleAttention


def small():
    torch.manual_seed(0)
    return DoubleAttention(6, c_m=4, c_n=3).double().eval()


def test_uniform_weights_give_the_mean_pixel():
    """Where nothing tells pixels or descriptors apart, every pixel is given the projection of the mean pixel."""
    block, x = small(), torch.randn(2, 6, 4, 5).double()
    for layer in (block.gather, block.distribute):
        layer.weight.data.zero_()
    mean = block.reconstruct(block.feature(x.mean((2, 3), keepdim=True)))
    torch.testing.assert_close(block(x), mean.expand(-1, -1, 4, 5))


def test_a_pixel_can_be_carried_to_another():
    """A descriptor that gathers the marked pixel and is chosen by the asking pixel brings the one to the other."""
    block, x = small(), torch.rand(1, 6, 4, 5).double()
    x[:, 0], x[:, 1] = 0, 0
    x[:, 0, 1, 2] = 1  # the mark
    x[:, 1, 3, 4] = 1  # the question
    for layer, channel in ((block.gather, 0), (block.distribute, 1)):
        layer.weight.data.zero_()
        layer.weight.data[2, channel] = 1000  # the third descriptor
    expected = block.reconstruct(block.feature(x[..., 1:2, 2:3]))[..., 0, 0]
    torch.testing.assert_close(block(x)[..., 3, 4], expected)


def test_each_softmax_is_over_its_own_axis():
    block, x = small(), torch.randn(1, 6, 4, 5).double()
    with capture(block, "over_*") as seen:
        block(x)
    pixels, descriptors = seen["over_pixels"], seen["over_descriptors"]
    assert pixels.shape == descriptors.shape == (1, 3, 20)
    torch.testing.assert_close(pixels.sum(2), torch.ones(1, 3).double())
    torch.testing.assert_close(descriptors.sum(1), torch.ones(1, 20).double())


@pytest.mark.parametrize(("dim", "c_m", "c_n"), [(64, 128, 128), (24, 5, 7)])
def test_cost(dim, c_m, c_n):
    block = DoubleAttention(dim, c_m, c_n)
    assert sum(p.numel() for p in block.parameters()) == 2 * dim * (c_m + c_n) + c_m + 2 * c_n + dim
    pixels = 32 * 16
    expected = 4 * pixels * dim * c_n + 2 * dim * c_m * c_n
    assert count_multiply_adds(block, input_size=(1, dim, 32, 16)) == expected
