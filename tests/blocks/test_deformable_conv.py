import pytest
import torch
import torch.nn.functional as F

from stitchwork.blocks.deformable_conv import DeformableConv


def random_block(*arguments, scale=0.3, **keywords):
    """Offsets of about ``scale`` times the square root of the inputs, which reach well over the edge."""
    torch.manual_seed(0)
    block = DeformableConv(*arguments, **keywords).double()
    for layer in filter(None, (block.offset, block.modulation)):
        torch.nn.init.normal_(layer.weight, std=scale)
        torch.nn.init.normal_(layer.bias)
    return block


@pytest.mark.parametrize("modulated", [True, False])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 1), (1, 1), (5, 1), (3, 2)])
def test_offsets_of_zero_give_the_convolution(kernel_size, dilation, modulated):
    """So it starts; version 2 with every tap at one half."""
    torch.manual_seed(0)
    block = DeformableConv(6, kernel_size, dilation, modulated).double()
    x = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    padding = dilation * (kernel_size // 2)
    expected = F.conv2d(x, block.conv.weight, padding=padding, dilation=dilation)
    torch.testing.assert_close(block(x), expected / 2 if modulated else expected)


@pytest.mark.parametrize("modulated", [True, False])
@pytest.mark.parametrize(
    ("kernel_size", "dilation", "bias"), [(3, 1, False), (5, 1, True), (3, 2, False), (1, 1, True)]
)
def test_equals_torchvision(kernel_size, dilation, bias, modulated):
    """Outputs and all gradients; torchvision's offsets have rows and columns in turn."""
    from torchvision.ops import deform_conv2d

    block = random_block(6, kernel_size, dilation, modulated, bias)
    x = torch.randn(2, 6, 8, 11, dtype=torch.float64, requires_grad=True)
    offset = block.offset(x)
    rows, columns = offset.chunk(2, 1)
    assert offset.abs().max() > 3, "no tap leaves the image"
    theirs = deform_conv2d(
        x,
        torch.stack([rows, columns], 2).flatten(1, 2),
        block.conv.weight,
        block.conv.bias,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        mask=block.modulation(x).sigmoid() if modulated else None,
    )
    ours, wanted = block(x), [x, *block.parameters()]
    torch.testing.assert_close(ours, theirs)
    gradients = (torch.autograd.grad(y.square().sum(), wanted, retain_graph=True) for y in (ours, theirs))
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b)


def test_whole_offsets_by_hand():
    """All taps moved two down and one to the left: the convolution of the image moved the other way."""
    torch.manual_seed(0)
    block = DeformableConv(3, modulated=False)
    with torch.no_grad():
        block.offset.bias[:9], block.offset.bias[9:] = 2, -1
    x = torch.randn(1, 3, 6, 6)
    moved = F.pad(x, (1, 0, 0, 2))[..., 2:, :6]  # pixel (i, j) is x(i + 2, j - 1)
    expected = F.conv2d(moved, block.conv.weight, padding=1)
    # Rows and columns at which a tap of the moved image's padding would lie on the image differ.
    torch.testing.assert_close(block(x)[..., 1:, :5], expected[..., 1:, :5])


def test_half_an_offset_reads_between_two_pixels():
    block = DeformableConv(1, kernel_size=1, modulated=False)
    with torch.no_grad():
        block.conv.weight.fill_(1)
        block.offset.bias[1] = 0.5  # to the right
    x = torch.tensor([[[[2.0, 4.0, 10.0]]]])
    assert block(x).flatten().tolist() == [3, 7, 5]  # outside there is zero


def test_one_tap_of_one_pixel_moves():
    """Rows first, then columns; taps row by row."""
    block = DeformableConv(2)
    with torch.no_grad():
        block.offset.bias[5] = 0.25  # the row of tap 5, right of the centre
        block.offset.bias[9 + 6] = -0.5  # the column of tap 6, below to the left
    rows, columns = block.points(torch.zeros(1, 2, 4, 5))
    assert rows.shape == columns.shape == (1, 4, 5, 9)
    assert rows[0, 2, 3].tolist() == [1, 1, 1, 2, 2, 2.25, 3, 3, 3]
    assert columns[0, 2, 3].tolist() == [2, 3, 4, 2, 3, 4, 1.5, 3, 4]


def test_a_tap_that_is_switched_off_is_not_read():
    block = DeformableConv(1, kernel_size=3)
    torch.nn.init.ones_(block.conv.weight)
    with torch.no_grad():
        block.modulation.bias.fill_(-1e4)
        block.modulation.bias[4] = 1e4  # the centre alone
    x = torch.randn(1, 1, 4, 4)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize(("dim", "kernel_size", "modulated"), [(64, 3, True), (64, 3, False), (8, 5, True)])
def test_parameters(dim, kernel_size, modulated):
    taps = kernel_size**2
    expected = taps * dim**2 + (3 if modulated else 2) * taps * (9 * dim + 1)
    assert sum(p.numel() for p in DeformableConv(dim, kernel_size, modulated=modulated).parameters()) == expected


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 2"):
        DeformableConv(4, kernel_size=2)
