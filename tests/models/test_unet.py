"""U-Net against its figure, written out; counts by hand."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.models.unet import UNet, bilinear, double_size, narrowed, pad_to

WIDTHS = (64, 128, 256, 512, 1024)
SMALL = (4, 6, 8, 10, 12)


def in_the_middle(x, size):
    """By hand: zeros, and the map pasted into them."""
    canvas = x.new_zeros(*x.shape[:2], *size)
    top, left = (size[0] - x.shape[2]) // 2, (size[1] - x.shape[3]) // 2
    canvas[:, :, top : top + x.shape[2], left : left + x.shape[3]] = x
    return canvas


def written_out(network, x, join):
    """The figure: down, then up with the encoder's maps in reverse; ``join`` orders the decoder's map and that."""
    maps = []
    for index, convolutions in enumerate(network.down):
        x = convolutions(F.max_pool2d(x, 2) if index else x)
        maps.append(x)
    for up, skip in zip(network.up, (maps[3], maps[2], maps[1], maps[0]), strict=True):
        x = up.convolve(torch.cat(join(in_the_middle(up.grow(x), skip.shape[2:]), skip), 1))
    return F.conv2d(x, network.head.weight, network.head.bias)


def skip_first(x, skip):
    return [skip, x]


def own_first(x, skip):
    return [x, skip]


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (16, 31)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize(
    ("build", "join"),
    [
        (partial(UNet, SMALL), skip_first),
        (partial(UNet, (4, 6, 8, 10, 10), bilinear), skip_first),
        (partial(UNet, SMALL, narrowed, encoder_bias=True), own_first),
    ],
    ids=["transposed", "bilinear", "half"],
)
def test_forward_is_the_figure(build, join, size):
    torch.manual_seed(0)
    network, x = build(num_classes=3).double().eval(), torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), written_out(network, x, join))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.integers(0, 5))
def test_padding_keeps_the_map_in_the_middle(height, width, more_rows, more_columns):
    x = torch.randn(1, 2, height, width)
    size = (height + more_rows, width + more_columns)
    assert pad_to(x, size).equal(in_the_middle(x, size))


def test_interpolation_leaves_the_corners_where_they_were():
    ramp = torch.linspace(0, 1, 4).expand(1, 1, 4, 4)
    torch.testing.assert_close(double_size()(ramp), torch.linspace(0, 1, 8).expand(1, 1, 8, 8))


def by_hand(widths, in_chans, num_classes):
    """Parameters of the transposed form: two 3x3 with BatchNorms at each size and each way, 2x2 between them."""
    pairs = list(zip((in_chans, *widths), widths))
    down = sum(9 * a * b + 9 * b * b + 2 * 2 * b for a, b in pairs)
    up = sum(4 * 2 * b * b + b + 9 * 2 * b * b + 9 * b * b + 2 * 2 * b for b in widths[:-1])
    return down + up + widths[0] * num_classes + num_classes


def multiply_adds_by_hand(widths, side, in_chans, num_classes):
    pixels = [(side // 2**i) ** 2 for i in range(5)]
    pairs = zip((in_chans, *widths), widths)
    down = sum(9 * (a * b + b * b) * p for (a, b), p in zip(pairs, pixels))
    # A transposed 2x2 with stride 2: each pixel of the large map has one tap.
    up = sum((2 * b * b + 9 * 3 * b * b) * p for b, p in zip(widths[:-1], pixels))
    return down + up + widths[0] * num_classes * pixels[0]


def test_counts_by_hand():
    with torch.device("meta"):
        network = create_model("unet")
    assert count_parameters(network) == by_hand(WIDTHS, 3, 2) == 31_037_698
    counted = count_multiply_adds(network, input_size=(1, 3, 224, 224))
    assert counted == multiply_adds_by_hand(WIDTHS, 224, 3, 2) == 36_881_367_040


def test_half_has_half_the_widths_and_a_quarter_of_the_work():
    with torch.device("meta"):
        costs = {n: count_multiply_adds(create_model(n), input_size=(1, 3, 64, 64)) for n in ("unet", "unet_half")}
    assert create_model("unet_half").pyramid_channels == tuple(width // 2 for width in WIDTHS)
    assert 0.24 < costs["unet_half"] / costs["unet"] < 0.26


def test_the_map_at_the_bottom_has_a_pixel():
    network = UNet(SMALL)
    assert [tuple(m.shape[2:]) for m in network.eval().forward_pyramid(torch.zeros(1, 3, 17, 35))] == [
        (17, 35), (8, 17), (4, 8), (2, 4), (1, 2),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="UNet needs height and width of at least 16"):
        network(torch.zeros(1, 3, 32, 15))
    with pytest.raises(ValueError, match="UNet: widths must be greater than 0; got 0"):
        UNet((4, 0, 8, 8, 8))


def test_the_decoder_of_half_has_no_normalisation():
    network = create_model("unet_half")
    assert not [part for part in network.up.modules() if isinstance(part, nn.BatchNorm2d)]
