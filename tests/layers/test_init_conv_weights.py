import math

import pytest
import torch
from torch import nn

from stitchwork.layers import init_conv_weights


@pytest.mark.parametrize(
    ("convolution", "fan_out"),
    [
        (lambda: nn.Conv2d(64, 256, 3), 256 * 9),
        (lambda: nn.Conv2d(512, 512, 3, groups=512), 9),
        (lambda: nn.Conv2d(256, 256, 3, groups=32), 8 * 9),
        (lambda: nn.Conv2d(64, 256, 1), 256),
        (lambda: nn.Conv2d(3, 640, (1, 7)), 640 * 7),
    ],
    ids=["dense", "depthwise", "grouped", "pointwise", "oblong"],
)
def test_standard_deviation(convolution, fan_out):
    torch.manual_seed(0)
    convolution = convolution()
    init_conv_weights(convolution)
    # With n weights the sample's deviation is off by 1 / sqrt(2 n): under 2 % for the smallest of these.
    assert convolution.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
    assert abs(convolution.weight.mean().item()) < 0.1 * math.sqrt(2 / fan_out)
    assert not convolution.bias.any()


def test_linear():
    torch.manual_seed(0)
    linear = nn.Linear(500, 100)
    init_conv_weights(linear)
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not linear.bias.any()


def test_keeps_the_scale_of_a_depthwise_stack():
    """Ten depthwise convolutions with ReLU keep the scale of the signal; with the fan-out of all groups it is gone."""
    torch.manual_seed(0)
    stack = nn.Sequential(
        *[m for _ in range(10) for m in (nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False), nn.ReLU())]
    )
    stack.apply(init_conv_weights)
    x = torch.randn(2, 64, 24, 24)
    with torch.no_grad():
        ratio = (stack(x).square().mean() / x.square().mean()).sqrt().item()
    assert 0.03 < ratio < 10


def test_leaves_others_alone():
    norm = nn.BatchNorm2d(4)
    nn.init.constant_(norm.weight, 3)
    init_conv_weights(norm)
    assert (norm.weight == 3).all()
