import pytest
import torch
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds
from stitchwork.models.shufflenet_v2 import DownsamplingUnit, ShuffleUnit


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


# Table 5: channels behind the stem, the three stages and the last convolution; million multiply-adds.
@pytest.mark.parametrize(
    ("name", "widths", "multiply_adds"),
    [
        ("x0_5", (24, 48, 96, 192, 1024), 41),
        ("x1_0", (24, 116, 232, 464, 1024), 146),
        ("x1_5", (24, 176, 352, 704, 1024), 299),
        ("x2_0", (24, 244, 488, 976, 2048), 591),
    ],
)
def test_table_5(name, widths, multiply_adds):
    model = meta(f"shufflenet_v2_{name}")
    assert (*model.pyramid_channels, model.num_features) == widths
    assert [len(stage) for stage in model.stages] == [4, 8, 4]
    count = count_multiply_adds(model, input_size=(1, 3, 224, 224))
    assert count / 1e6 == pytest.approx(multiply_adds, rel=0.02)


def test_cost():
    cost = count_multiply_adds(ShuffleUnit(48), input_size=(1, 48, 6, 8))
    assert cost == 48 * (48**2 // 2 + 9 * 48 // 2)


def test_half_of_the_channels_passes_and_is_interleaved():
    unit, x = ShuffleUnit(12).eval(), torch.randn(2, 12, 5, 5)
    y = unit(x)
    assert y[:, 0::2].equal(x[:, :6])
    assert y[:, 1::2].equal(unit.branch(x[:, 6:]))


def test_half_of_what_passed_is_computed_in_the_next_unit():
    """The shuffle's purpose: channels 3 to 5 of the first half are computed in the second unit, 0 to 2 pass again."""
    first, second = ShuffleUnit(12).eval(), ShuffleUnit(12).eval()
    x = torch.randn(1, 12, 3, 3, requires_grad=True)
    computed = second.branch(first(x)[:, 6:])
    (gradient,) = torch.autograd.grad(computed.sum(), x)
    assert (gradient[0].abs().amax((1, 2)) > 0).tolist() == [False] * 3 + [True] * 9


def test_where_the_size_is_halved_both_branches_see_everything():
    unit, x = DownsamplingUnit(10, 24).eval(), torch.randn(2, 10, 7, 5)
    y = unit(x)
    assert y.shape == (2, 24, 4, 3)
    assert y[:, 0::2].equal(unit.shortcut(x)) and y[:, 1::2].equal(unit.branch(x))


def test_no_activation_behind_a_depthwise_convolution():
    for conv in [m for m in create_model("shufflenet_v2_x0_5").modules() if type(m).__name__ == "ConvNormAct"]:
        depthwise = conv.conv.groups > 1
        assert depthwise != any(isinstance(part, nn.ReLU) for part in conv)


def test_no_groups_but_the_depthwise():
    """Guideline 2."""
    convs = [m for m in meta("shufflenet_v2_x1_0").modules() if isinstance(m, nn.Conv2d)]
    assert {c.groups == 1 or c.groups == c.in_channels for c in convs} == {True}


@pytest.mark.parametrize("build", [lambda: ShuffleUnit(7), lambda: DownsamplingUnit(4, 7)])
def test_odd_widths_are_refused(build):
    with pytest.raises(ValueError, match="halves=2; got dim=7"):
        build()
