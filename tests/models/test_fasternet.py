import pytest
import timm
import torch
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import DropPath
from stitchwork.models.fasternet import FasterNetBlock
from stitchwork.weights import load_state_dict_from


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(f"fasternet_{name}", **arguments)


# Table 8 of the paper's appendix: channels, depths, activation; table 3: parameters in millions and G multiply-adds.
@pytest.mark.parametrize(
    ("name", "dim", "depths", "act", "parameters", "giga"),
    [
        ("t0", 40, (1, 2, 8, 2), nn.GELU, 3.9, 0.34),
        ("t1", 64, (1, 2, 8, 2), nn.GELU, 7.6, 0.85),
        ("t2", 96, (1, 2, 8, 2), nn.ReLU, 15.0, 1.91),
        ("s", 128, (1, 2, 13, 2), nn.ReLU, 31.1, 4.56),
        ("m", 144, (3, 4, 18, 3), nn.ReLU, 53.5, 8.74),
        ("l", 192, (3, 4, 18, 3), nn.ReLU, 93.5, 15.52),
    ],
)
def test_tables(name, dim, depths, act, parameters, giga):
    model = meta(name)
    assert model.pyramid_channels == (dim, 2 * dim, 4 * dim, 8 * dim)
    assert tuple(len(stage) for stage in model.stages) == depths
    assert {type(m) for m in model.modules() if isinstance(m, nn.GELU | nn.ReLU)} == {act}
    assert count_parameters(model) / 1e6 == pytest.approx(parameters, rel=0.01)
    assert count_multiply_adds(model, input_size=(1, 3, 224, 224)) / 1e9 == pytest.approx(giga, rel=0.02)


def test_cost_of_a_block():
    block, dim = FasterNetBlock(32), 32
    assert count_multiply_adds(block, input_size=(1, dim, 6, 8)) == 48 * (4 * dim**2 + 9 * dim**2 // 16)
    assert count_parameters(block) == 4 * dim**2 + 9 * dim**2 // 16 + 4 * dim  # the last: BatchNorm of 2 C channels


def test_a_block_begins_from_its_input():
    block, x = FasterNetBlock(16).eval(), torch.randn(2, 16, 5, 5)
    nn.init.zeros_(block.project.weight)
    assert block(x).equal(x)


def test_three_quarters_of_the_channels_are_seen_at_their_own_pixel_only():
    block = FasterNetBlock(16).eval()
    for channel, pixels in ((0, 9), (3, 9), (4, 1), (15, 1)):
        x = torch.randn(1, 16, 7, 7, requires_grad=True)
        (gradient,) = torch.autograd.grad(block(x)[0, :, 3, 3].sum(), x)
        assert (gradient[0, channel] != 0).sum() == pixels


def test_one_normalisation_and_one_activation_in_a_block():
    kinds = [type(m) for m in FasterNetBlock(16).modules()]
    assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.ReLU) == 1


def test_stochastic_depth_rises_to_the_rate_of_the_last_block():
    model = meta("t2", drop_path_rate=0.12)
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.12 * i / 12 for i in range(13)])
    assert not any(m.rate for m in meta("t2").modules() if isinstance(m, DropPath))


def test_the_hidden_layer_of_the_head_has_no_bias_and_no_normalisation():
    model = create_model("fasternet_t0", num_classes=0).eval()
    assert model.hidden.bias is None
    features = torch.randn(2, 320, 3, 2)
    expected = nn.functional.gelu(features.mean((2, 3)) @ model.hidden.weight.T)
    torch.testing.assert_close(model.forward_head(features), expected)


def test_pyramid_is_timms():
    theirs = timm.create_model("fasternet_t0").eval()
    ours = create_model("fasternet_t0").eval()
    load_state_dict_from(ours, "fasternet_t0", theirs.state_dict(), "timm")
    x = torch.randn(1, 3, 75, 65)
    with torch.no_grad():
        for a, b in zip(ours.forward_pyramid(x), theirs.forward_intermediates(x, intermediates_only=True), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_an_image_smaller_than_one_last_patch_is_refused(size):
    with pytest.raises(ValueError, match="at least 32"):
        create_model("fasternet_t0")(torch.zeros(1, 3, *size))
