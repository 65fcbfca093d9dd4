import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.blocks.snake_conv import DynamicSnakeConv


class Steps(nn.Module):
    """Gives fixed steps, whatever the image: one number for each of the 2K channels."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.tensor(values, dtype=torch.float64)

    def forward(self, x):
        return self.values[None, :, None, None].expand(len(x), -1, *x.shape[2:])


def with_steps(values, dim=4, **keywords):
    """A snake of 5 taps with these steps for x and for y, and the identity in the place of norm and activation."""
    torch.manual_seed(0)
    block = DynamicSnakeConv(dim, kernel_size=5, **keywords).double()
    block.act_offset = Steps(values)
    block.norm = block.act = nn.Identity()
    return block


STEPS = [0.5, -0.25, 9.0, 1.0, 0.75, 0.1, 0.2, 9.0, 0.4, 0.8]


def test_steps_add_up_from_the_centre():
    """By hand: the middle step is not used, the ends are added up as well."""
    x = torch.zeros(1, 4, 2, 3, dtype=torch.float64)
    assert with_steps(STEPS).bends(x)[0, :, 1, 2].tolist() == [0.25, -0.25, 0, 1, 1.75]
    along_y = with_steps(STEPS, along="y", extend_scope=2.0)
    torch.testing.assert_close(along_y.bends(x)[0, :, 1, 2].float(), torch.tensor([0.6, 0.4, 0, 0.8, 2.4]))


@pytest.mark.parametrize("along", ["x", "y"])
def test_a_straight_snake_is_a_convolution_of_one_row(along):
    """No steps: K taps along the axis, outside which the image goes on as its edge."""
    block = with_steps([0.0] * 10, along=along)
    x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    if along == "x":
        kernel, padded, bias = block.conv_x.weight.mT, F.pad(x, (2, 2, 0, 0), mode="replicate"), block.conv_x.bias
    else:
        kernel, padded, bias = block.conv_y.weight.mT, F.pad(x, (0, 0, 2, 2), mode="replicate"), block.conv_y.bias
    torch.testing.assert_close(block(x), F.conv2d(padded, kernel, bias))


def test_follows_a_slope_exactly():
    """Steps of one away from the centre and towards it: the taps lie on a diagonal."""
    block = with_steps([-1.0, -1.0, 0.0, 1.0, 1.0, *[0.0] * 5])
    x = torch.randn(1, 4, 9, 9, dtype=torch.float64)
    y = (
        sum(block.conv_x.weight[:, :, tap, 0] @ x[0, :, 4 + tap - 2, 4 + tap - 2] for tap in range(5))
        + block.conv_x.bias
    )
    torch.testing.assert_close(block(x)[0, :, 4, 4], y)


def test_reads_between_two_rows():
    """Half a step down: the mean of two rows; at the lower edge the edge itself."""
    block = with_steps([0.0, 0.0, 0.0, 0.5, 0.0, *[0.0] * 5])
    with torch.no_grad():
        block.conv_x.weight.zero_()
        block.conv_x.weight[0, 0, 3] = 1
        block.conv_x.bias.zero_()
    x = torch.zeros(1, 4, 3, 2, dtype=torch.float64)
    x[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 7.0]])
    assert block(x)[0, 0].tolist() == [[4, 4], [6.5, 6.5], [7, 7]]  # tap 3 is one to the right


def test_neighbouring_taps_are_at_most_a_step_apart():
    torch.manual_seed(0)
    bends = DynamicSnakeConv(16, extend_scope=1.5).bends(10 * torch.randn(2, 16, 9, 9))
    assert bends.shape == (2, 9, 9, 9)
    assert bends.diff(dim=1).abs().max() <= 1.5
    assert bends.abs().max() > 3, "the steps do not add up"
    assert (bends[:, 4] == 0).all()


def test_along_y_is_along_x_of_the_transposed_image():
    """With the kernels and the offsets of the axes exchanged."""
    torch.manual_seed(0)
    one, other = DynamicSnakeConv(8, kernel_size=5).double(), DynamicSnakeConv(8, kernel_size=5, along="y").double()
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        other.conv_y.weight.copy_(one.conv_x.weight.mT)
        other.conv_y.bias.copy_(one.conv_x.bias)
        other.offset.weight.copy_(one.offset.weight.mT.roll(5, 0))
        other.offset.bias.copy_(one.offset.bias.roll(5))
    # Normalised in pairs of channels, which an odd K does not exchange whole: so without.
    one.offset_norm = other.offset_norm = nn.Identity()
    x = torch.randn(2, 8, 6, 9, dtype=torch.float64)
    torch.testing.assert_close(other(x.mT), one(x).mT)


def test_every_image_reads_itself():
    torch.manual_seed(0)
    block, x = DynamicSnakeConv(8).eval(), torch.randn(3, 8, 9, 7)
    torch.testing.assert_close(block(x), torch.cat([block(item[None]) for item in x]))


@pytest.mark.parametrize(("dim", "kernel_size"), [(64, 9), (12, 3)])
def test_parameters(dim, kernel_size):
    expected = 2 * kernel_size * dim**2 + 18 * kernel_size * dim + 4 * dim + 6 * kernel_size
    assert sum(p.numel() for p in DynamicSnakeConv(dim, kernel_size).parameters()) == expected


@pytest.mark.parametrize("along", ["x", "y"])
def test_the_other_kernel_has_a_gradient_of_zero(along):
    """Zero, and not none: all parameters take part, as distributed training wants it."""
    torch.manual_seed(0)
    block = DynamicSnakeConv(8, along=along)
    block(torch.randn(1, 8, 5, 5)).square().sum().backward()
    used, idle = (block.conv_x, block.conv_y) if along == "x" else (block.conv_y, block.conv_x)
    assert used.weight.grad.abs().max() > 0
    assert idle.weight.grad.abs().max() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 66}, "dim must be a multiple of 4; got 66"),
        ({"dim": 8, "kernel_size": 4}, "kernel_size must be odd .* got 4"),
        ({"dim": 8, "along": "z"}, "along must be 'x' or 'y'; got 'z'"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        DynamicSnakeConv(**arguments)
