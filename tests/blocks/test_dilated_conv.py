import pytest
import torch
from torch import nn

from stitchwork.analysis import count_multiply_adds, gradient_support, theoretical_receptive_field
from stitchwork.blocks.dilated_conv import ContextModule, DilatedConv


@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 1), (3, 2), (5, 3), (1, 4)])
def test_taps_are_where_the_dilation_says(kernel_size, dilation):
    """Equation 2: an image with one bright pixel shows the kernel, turned round, its taps ``dilation`` apart."""
    torch.manual_seed(0)
    block = DilatedConv(1, kernel_size, dilation, bias=False)
    x = torch.zeros(1, 1, 17, 17)
    x[..., 8, 8] = 1
    expected = torch.zeros(17, 17)
    reach = dilation * (kernel_size // 2)
    taps = slice(8 - reach, 9 + reach, dilation)
    expected[taps, taps] = block.conv.weight[0, 0].flip(0, 1).detach()
    torch.testing.assert_close(block(x)[0, 0].detach(), expected)


def test_gridding_by_hand():
    """Two layers of dilation 2 never see an odd distance; dilations 1 and 2 leave no hole."""
    holes = gradient_support(nn.Sequential(DilatedConv(2), DilatedConv(2)), (1, 2, 15, 15))
    whole = gradient_support(nn.Sequential(DilatedConv(2, dilation=1), DilatedConv(2)), (1, 2, 15, 15))
    assert holes.nonzero().remainder(2).eq(1).all() and holes.sum() == 25  # the centre is pixel 7, 7
    assert whole[4:11, 4:11].all() and whole.sum() == 49


@pytest.mark.parametrize("count", [2, 3, 4])
def test_field_doubles(count):
    """Dilations 1, 2, 4, ...: a field of 2^(n + 1) - 1 without holes."""
    dilations = [2**i for i in range(count)]
    field = 2 ** (count + 1) - 1
    assert theoretical_receptive_field([(3, 1, d) for d in dilations]) == field
    stack = nn.Sequential(*[DilatedConv(1, dilation=d) for d in dilations])
    assert gradient_support(stack, (1, 1, 33, 33)).sum() == field**2


@pytest.mark.parametrize("dilation", [1, 2, 7])
def test_cost_does_not_depend_on_the_dilation(dilation):
    block = DilatedConv(8, dilation=dilation)
    assert sum(p.numel() for p in block.parameters()) == 9 * 8**2 + 8
    assert count_multiply_adds(block, input_size=(1, 8, 6, 10)) == 9 * 8**2 * 60


def test_size_is_kept_where_the_field_is_larger_than_the_image():
    assert DilatedConv(2, dilation=9)(torch.ones(1, 2, 3, 1)).shape == (1, 2, 3, 1)


def test_context_module_starts_as_the_identity():
    """Of what is positive: its activations cut off the rest."""
    x = torch.randn(2, 5, 9, 7)
    torch.testing.assert_close(ContextModule(5)(x), x.relu())


def test_context_module_is_table_1():
    convs = [layer for layer in ContextModule(4).layers if isinstance(layer, nn.Conv2d)]
    assert [c.dilation[0] for c in convs] == [1, 1, 2, 4, 8, 16, 1, 1]
    assert [c.kernel_size[0] for c in convs] == [3] * 7 + [1]
    assert isinstance(ContextModule(4).layers[-1], nn.Conv2d)  # the last one is linear
    assert theoretical_receptive_field([(c.kernel_size[0], 1, c.dilation[0]) for c in convs]) == 67
    assert sum(p.numel() for p in ContextModule(4).parameters()) == 64 * 4**2 + 8 * 4


def test_refusals():
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 4"):
        DilatedConv(4, kernel_size=4)
    with pytest.raises(ValueError, match=r"dilations must be greater than 0; got 0"):
        ContextModule(4, dilations=(1, 0))
