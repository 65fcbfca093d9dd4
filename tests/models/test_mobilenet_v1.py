import pytest
import torch
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters


def meta(**arguments):
    with torch.device("meta"):
        return create_model("mobilenet_v1", **arguments)


# Table 6: alpha, million parameters, million multiply-adds.
@pytest.mark.parametrize(
    ("alpha", "parameters", "multiply_adds"), [(1, 4.2, 569), (0.75, 2.6, 325), (0.5, 1.3, 149), (0.25, 0.5, 41)]
)
def test_width_multiplier(alpha, parameters, multiply_adds):
    model = meta(width_multiplier=alpha)
    assert round(count_parameters(model) / 1e6, 1) == parameters
    assert count_multiply_adds(model, input_size=(1, 3, 224, 224)) / 1e6 == pytest.approx(multiply_adds, abs=0.5)


# Table 7: side of the image, million multiply-adds (which the paper rounds, or cuts off).
@pytest.mark.parametrize(("side", "multiply_adds"), [(224, 569), (192, 418), (160, 290), (128, 186)])
def test_resolution_multiplier(side, multiply_adds):
    assert count_multiply_adds(meta(), input_size=(1, 3, side, side)) / 1e6 == pytest.approx(multiply_adds, abs=0.7)


def test_table_1():
    """The (channels, stride) of the depthwise convolutions, in the order of the table."""
    convolutions = [m for m in meta().modules() if isinstance(m, nn.Conv2d)]
    depthwise = [(c.in_channels, c.stride[0]) for c in convolutions if c.groups > 1]
    assert depthwise == [
        *[(32, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2)],
        *[(512, 1)] * 5,
        # The table prints stride 2 twice, but the size in its next row, 7 x 7, allows it only once.
        *[(512, 2), (1024, 1)],
    ]
    assert all(c.groups == c.in_channels == c.out_channels for c in convolutions if c.groups > 1)
    assert all(c.kernel_size == (1, 1) and c.stride == (1, 1) for c in convolutions[1:] if c.groups == 1)
    # 28 layers, counting depthwise and pointwise apart (section 3.2); one of them is the classifier.
    assert len(convolutions) == 27


def test_activation_is_relu6():
    activations = {type(m) for m in meta().modules() if isinstance(m, nn.ReLU | nn.ReLU6)}
    assert activations == {nn.ReLU6}
