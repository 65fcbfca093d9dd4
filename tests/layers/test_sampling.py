import pytest
import torch
import torch.nn.functional as F

from stitchwork.layers import between, bilinear, weighted_sums, zero_border


def read(x, rows, columns, strength=1.0):
    """The image (B, C, H, W) at points (B, N): (B, C, N)."""
    index, weight = bilinear(rows, columns, *x.shape[2:], strength)
    return weighted_sums(zero_border(x).flatten(1, 2), index, weight).mT


def test_between_by_hand():
    """Indices count the border: pixel 0 of the image is 1. Beyond the border nothing moves any more."""
    position = torch.tensor([0.0, 0.25, 1.75, 2.0, 2.5, 7.0, -0.5, -1.0, -9.0])
    lower, share = between(position, 3)
    assert lower.tolist() == [1, 1, 2, 3, 3, 3, 0, 0, 0]
    assert share.tolist() == [0, 0.25, 0.75, 0, 0.5, 1, 0.5, 0, 0]


def test_points_by_hand():
    """Corners, a centre of four pixels, half a pixel outside, and far outside."""
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    rows = torch.tensor([[0.0, 1.0, 0.5, 0.25, -0.5, 1.5, 9.0, 0.0]])
    columns = torch.tensor([[0.0, 1.0, 0.5, 0.0, 0.0, 1.0, 0.0, -9.0]])
    assert read(x, rows, columns).flatten().tolist() == [1, 4, 2.5, 1.5, 0.5, 2, 0, 0]


@pytest.mark.parametrize("size", [(6, 9), (1, 1), (1, 5)], ids=str)
def test_equals_grid_sample(size):
    """Values and gradients, for points inside and up to two pixels outside."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    x = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    draw = torch.rand(2, 2, 50, generator=generator, dtype=torch.float64)
    rows = ((height + 3) * draw[0] - 2).requires_grad_()
    columns = ((width + 3) * draw[1] - 2).requires_grad_()
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
    expected = F.grid_sample(x, grid[:, None], align_corners=False)[:, :, 0]
    actual = read(x, rows, columns)
    torch.testing.assert_close(actual, expected)
    wanted = (x, rows, columns)
    ours, theirs = (torch.autograd.grad(y.square().sum(), wanted, retain_graph=True) for y in (actual, expected))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b)


def test_strength_is_the_sum_of_the_weights():
    rows, columns, strength = torch.rand(3, 2, 5, generator=torch.Generator().manual_seed(0))
    _, weight = bilinear(3 * rows, 4 * columns, 4, 5, strength)
    torch.testing.assert_close(weight.sum(-1), strength)


def test_a_point_that_is_not_a_number_stays_in_its_image():
    x = torch.ones(2, 1, 3, 3)
    rows = torch.tensor([[1.0], [float("nan")]])
    y = read(x, rows, torch.ones(2, 1))
    assert y[0].item() == 1 and y[1].isnan().all()
    index, _ = bilinear(rows, torch.ones(2, 1), 3, 3)
    assert (index >= 0).all() and (index < 25).all()


def test_sums_of_any_number_of_pixels():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    index = torch.randint(7, (2, 4, 5), generator=generator, dtype=torch.int32)
    weight = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    expected = torch.stack([(w[..., None] * p[i.long()]).sum(1) for p, i, w in zip(pixels, index, weight)])
    torch.testing.assert_close(weighted_sums(pixels, index, weight), expected)
