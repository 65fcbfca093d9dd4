import pytest
import torch
from torch import nn

from stitchwork.blocks.deformable_conv_v3 import DeformableConvV3


def random_block(*arguments, **keywords):
    torch.manual_seed(0)
    block = DeformableConvV3(*arguments, **keywords).double()
    for layer in (block.offset, block.modulation):
        nn.init.normal_(layer.weight, std=0.3)
        nn.init.normal_(layer.bias)
    return block


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_starts_as_a_mean_between_two_projections(kernel_size):
    """Offsets of zero and equal weights: each pixel is the mean of its k x k neighbourhood, zeros outside."""
    torch.manual_seed(0)
    block = DeformableConvV3(8, kernel_size=kernel_size).double()
    nn.init.normal_(block.value.bias)
    x = torch.randn(2, 8, 6, 7, dtype=torch.float64)
    value = block.value(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    mean = nn.functional.avg_pool2d(value, kernel_size, 1, kernel_size // 2)  # counts the zeros as well
    torch.testing.assert_close(block(x), block.project(mean.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


@pytest.mark.parametrize(("groups", "offset_scale"), [(1, 1.0), (4, 1.0), (2, 2.0)])
def test_equals_torchvision(groups, offset_scale):
    """Version 2 with a kernel of unit matrices, and offsets and factors of its own for each group of channels."""
    from torchvision.ops import deform_conv2d

    block = random_block(8, groups, offset_scale=offset_scale)
    x = torch.randn(2, 8, 7, 9, dtype=torch.float64)
    query = block.act(block.norm(block.depthwise(x).permute(0, 2, 3, 1)))
    offset = block.offset(query).unflatten(3, (groups, 3, 3, 2))  # (B, H, W, G, column, row, (x, y))
    offset = offset.transpose(4, 5).flip(6)  # (B, H, W, G, row, column, (y, x))
    steps = torch.arange(-1, 2.0)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), 2)
    offset = offset_scale * (offset + grid) - grid  # the scale stretches the grid as well
    factors = block.modulation(query).unflatten(3, (groups, 9)).softmax(4)
    factors = factors.unflatten(4, (3, 3)).transpose(4, 5)
    value = block.value(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    kernel = torch.ones(8, 1, 3, 3, dtype=torch.float64)
    mean = deform_conv2d(
        value,
        offset.flatten(3).permute(0, 3, 1, 2),
        kernel,
        padding=1,
        mask=factors.flatten(3).permute(0, 3, 1, 2),
    )
    torch.testing.assert_close(block(x), block.project(mean.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def test_points_by_hand():
    """Taps down the columns, (column, row) offsets, each group its own."""
    block = DeformableConvV3(4, groups=2)
    with torch.no_grad():
        block.offset.bias[2 * 1] = 0.25  # the column of tap 1 of group 0, left of the centre
        block.offset.bias[2 * (9 + 3) + 1] = -0.5  # the row of tap 3 of group 1, above the centre
    rows, columns = block.points(torch.zeros(1, 4, 5, 4))
    assert rows.shape == (1, 4, 5, 2, 9)
    assert rows[0, 2, 3, 0].tolist() == [1, 2, 3] * 3
    assert columns[0, 2, 3, 0].tolist() == [2, 2.25, 2, 3, 3, 3, 4, 4, 4]
    assert rows[0, 2, 3, 1].tolist() == [1, 2, 3, 0.5, 2, 3, 1, 2, 3]
    assert columns[0, 2, 3, 1].tolist() == [2, 2, 2, 3, 3, 3, 4, 4, 4]


def test_weights_of_a_group_are_a_distribution():
    block, seen = random_block(8), []
    assert isinstance(block.gate, nn.Softmax)
    block.gate.register_forward_hook(lambda m, inputs, output: seen.append(output))
    block(torch.randn(2, 8, 5, 6, dtype=torch.float64))
    assert seen[0].shape == (2, 5, 6, 4, 9)
    torch.testing.assert_close(seen[0].sum(4), torch.ones(2, 5, 6, 4, dtype=torch.float64))


def test_groups_do_not_mix_before_the_projection():
    block = random_block(8, groups=2)
    block.value = block.project = nn.Identity()
    x, y = torch.randn(2, 1, 8, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        block.depthwise.weight.zero_()  # the points depend on nothing
    mixed = torch.cat([x[:, :4], y[:, 4:]], 1)
    torch.testing.assert_close(block(mixed), torch.cat([block(x)[:, :4], block(y)[:, 4:]], 1))


@pytest.mark.parametrize(("dim", "groups", "kernel_size"), [(64, 4, 3), (48, 3, 5)])
def test_parameters(dim, groups, kernel_size):
    taps = kernel_size**2
    expected = 2 * dim * (dim + 1) + 3 * taps * groups * (dim + 1) + (taps + 3) * dim
    assert sum(p.numel() for p in DeformableConvV3(dim, groups, kernel_size).parameters()) == expected


def test_refusals():
    with pytest.raises(ValueError, match=r"dim must be a multiple of groups=4; got dim=66"):
        DeformableConvV3(66)
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 2"):
        DeformableConvV3(64, kernel_size=2)
