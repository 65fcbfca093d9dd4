import pytest
import torch
import torch.nn.functional as F

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters, gradient_support
from stitchwork.models.conv2former import Conv2Former, Conv2FormerBlock, ConvMlp, ConvModulation


def meta(name="conv2former_n", **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


# Table 1: million parameters and billion multiply-adds at 224 pixels; the official code has 2.33 where N has 2.2.
@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [("conv2former_t", 27, 4.4), ("conv2former_s", 50, 8.7), ("conv2former_b", 90, 15.9), ("conv2former_l", 199, 36.0)],
)
def test_table_1(name, parameters, multiply_adds):
    network = meta(name)
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.5)
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) / 1e9 == pytest.approx(multiply_adds, abs=0.06)


@pytest.mark.parametrize(
    ("name", "dims", "depths", "kernel"),
    [
        ("conv2former_n", (64, 128, 256, 512), (2, 2, 8, 2), 7),
        ("conv2former_t", (72, 144, 288, 576), (3, 3, 12, 3), 11),
        ("conv2former_s", (72, 144, 288, 576), (4, 4, 32, 4), 11),
        ("conv2former_b", (96, 192, 384, 768), (4, 4, 34, 4), 11),
        ("conv2former_l", (128, 256, 512, 1024), (4, 4, 48, 4), 11),
    ],
)
def test_stages(name, dims, depths, kernel):
    network = meta(name)
    assert network.pyramid_channels == dims
    assert tuple(len(stage) for stage in network.stages) == depths
    assert {tuple(b.modulation.depthwise.kernel_size) for stage in network.stages for b in stage} == {(kernel, kernel)}


@pytest.mark.parametrize(("dim", "kernel"), [(8, 11), (12, 7)])
def test_cost_of_a_block(dim, kernel):
    """H · W · C (k² + 3C + 8C + 36) multiply-adds."""
    block = Conv2FormerBlock(dim, kernel)
    cost = count_multiply_adds(block, input_size=(1, dim, 6, 10))
    assert cost == 60 * dim * (kernel**2 + 11 * dim + 36)
    assert count_parameters(block) == dim * (kernel**2 + 11 * dim + 36) + dim * (4 + 4 + 4 + 1) + 4 * dim + 2 * dim


def test_modulation_is_a_product():
    """With a factor that is 1 everywhere the values go through; with 0, only the last bias is left."""
    torch.manual_seed(0)
    block, x = ConvModulation(8), torch.randn(2, 8, 9, 10)
    torch.nn.init.zeros_(block.depthwise.weight)
    torch.nn.init.ones_(block.depthwise.bias)
    y = F.layer_norm(x.permute(0, 2, 3, 1), (8,), eps=1e-6)
    expected = block.project(block.value(y)).permute(0, 3, 1, 2)
    torch.testing.assert_close(block(x), expected)
    torch.nn.init.zeros_(block.depthwise.bias)
    torch.testing.assert_close(block(x), block.project.bias[:, None, None].expand(2, 8, 9, 10))


def test_factors_may_be_negative():
    torch.manual_seed(0)
    block = ConvModulation(8)
    factors = []
    block.depthwise.register_forward_hook(lambda module, inputs, output: factors.append(output))
    block(torch.randn(1, 8, 20, 20))
    assert factors[0].min() < 0 < factors[0].max()


def test_gradient_support():
    """11x11 of the modulation and 3x3 of the MLP."""
    block = Conv2FormerBlock(8, layer_scale=1.0)
    assert int(gradient_support(block, (1, 8, 21, 21)).sum()) == 13 * 13
    assert int(gradient_support(ConvMlp(8), (1, 8, 21, 21)).sum()) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 8}, r"kernel_size must be odd.*got 8: take 9"),
        ({"kernel_size": -1}, r"kernel_size must be greater than 0; got -1"),
        ({"dims": (8, 8, 0, 8)}, r"dims must be greater than 0; got 0"),
        ({"drop_path_rate": 2.0}, r"drop_path_rate must be at least 0 and below 1; got 2"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conv2Former(**{"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8), **arguments})
