import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds
from stitchwork.models.shufflenet_v1 import ShuffleUnit


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


# Table 1 of the paper (width 1), and its table 2: the others scale these.
@pytest.mark.parametrize(("name", "widths"), [("x1_0_g3", (24, 240, 480, 960)), ("x1_0_g8", (24, 384, 768, 1536))])
def test_table_1(name, widths):
    model = meta(f"shufflenet_v1_{name}")
    assert model.pyramid_channels == widths
    assert [len(stage) for stage in model.stages] == [4, 8, 4]


@pytest.mark.parametrize(
    ("name", "multiply_adds"),
    [("x0_5_g3", 38), ("x1_0_g3", 140), ("x1_5_g3", 292), ("x2_0_g3", 524), ("x1_0_g8", 140), ("x2_0_g8", 524)],
)
def test_table_2(name, multiply_adds):
    """About the paper's complexity, in millions, at each width."""
    count = count_multiply_adds(meta(f"shufflenet_v1_{name}"), input_size=(1, 3, 224, 224))
    assert count / 1e6 == pytest.approx(multiply_adds, rel=0.03)


@pytest.mark.parametrize(("dim", "groups"), [(48, 3), (96, 8)])
def test_cost(dim, groups):
    cost = count_multiply_adds(ShuffleUnit(dim, dim, groups=groups), input_size=(1, dim, 6, 8))
    assert cost == 48 * (dim**2 // (2 * groups) + 9 * dim // 4)


def test_only_the_first_convolution_of_all_is_not_grouped():
    groups = [u.reduce.conv.groups for u in meta("shufflenet_v1_x1_0_g8").modules() if isinstance(u, ShuffleUnit)]
    assert groups == [1] + [8] * 15


def dependence(unit, dim, groups):
    """(groups, groups): whether output group i sees input group j, the shortcut left out."""
    x = torch.randn(4, dim, 5, 5, requires_grad=True)
    y = unit.expand(unit.shuffle(unit.depthwise(unit.reduce(x))))
    seen = torch.zeros(groups, groups, dtype=torch.bool)
    for i, part in enumerate(y.chunk(groups, 1)):
        (gradient,) = torch.autograd.grad(part.square().sum(), x, retain_graph=True)
        seen[i] = torch.tensor([g.abs().max() > 0 for g in gradient.chunk(groups, 1)])
    return seen


@pytest.mark.parametrize(("dim", "groups"), [(48, 3), (96, 4)])
def test_the_shuffle_lets_every_group_see_every_other(dim, groups):
    unit = ShuffleUnit(dim, dim, groups=groups)
    assert dependence(unit, dim, groups).all()
    unit.shuffle = nn.Identity()
    assert dependence(unit, dim, groups).equal(torch.eye(groups, dtype=torch.bool))


def test_the_shuffle_is_the_inverse_of_the_usual_one():
    unit, x = ShuffleUnit(48, 48, groups=3), torch.randn(1, 12, 2, 2)
    assert unit.shuffle(torch.channel_shuffle(x, 3)).equal(x)
    assert not unit.shuffle(x).equal(torch.channel_shuffle(x, 3))


def test_shuffling_in_front_of_the_depthwise_convolution_is_the_same_with_its_channels_reordered():
    unit, x = ShuffleUnit(48, 48, groups=3).eval(), torch.randn(2, 12, 7, 7)
    order = unit.shuffle(torch.arange(12.0).view(1, 12, 1, 1)).flatten().long()
    weight = unit.depthwise.conv.weight[order]
    behind = unit.shuffle(unit.depthwise.conv(x))
    in_front = F.conv2d(unit.shuffle(x), weight, padding=1, groups=12)
    torch.testing.assert_close(in_front, behind)


def test_where_the_size_is_halved_the_pooled_input_comes_first():
    unit, x = ShuffleUnit(24, 60, stride=2).eval(), torch.randn(2, 24, 9, 7)
    y = unit(x)
    assert y.shape == (2, 60, 5, 4)
    # The border's zeros count: the corner is the mean of four pixels and five zeros.
    torch.testing.assert_close(y[:, :24, 0, 0], x[:, :, :2, :2].sum((2, 3)) / 9)
    assert (y[:, :24] < 0).any() and (y[:, 24:] >= 0).all()


def test_the_rest_of_the_unit_is_a_residual_block():
    unit, x = ShuffleUnit(48, 48).eval(), torch.randn(2, 48, 6, 6)
    nn.init.zeros_(unit.expand.norm.weight)
    assert unit(x).equal(x.relu())


def test_nothing_is_cut_off_behind_the_depthwise_convolution():
    unit, x = ShuffleUnit(48, 48), torch.randn(8, 12, 6, 6)
    assert unit.depthwise(x).amin((0, 2, 3)).max() < -0.5


def test_the_classifier_has_no_bias():
    model = create_model("shufflenet_v1_x0_5_g3", num_classes=5)
    assert model.head.bias is None and model.head.weight.std() < 0.02
    model.reset_head(3)
    assert model.head.bias is None and model.head.out_features == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 24, "out_dim": 48}, "at stride 1 out_dim must be dim"),
        ({"dim": 48, "out_dim": 48, "stride": 2}, "at stride 2 larger"),
        ({"dim": 40, "out_dim": 40}, "multiple of groups=3; got dim=10"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShuffleUnit(**arguments)
