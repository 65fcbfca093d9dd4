"""Compound scaling: the rule by hand, plans that are what they say, budgets that are kept or refused."""

import math

import pytest
import torch
from torch import nn

import stitchwork.scaling
from stitchwork import create_model
from stitchwork.analysis import Measurement, count_multiply_adds, count_parameters, measure_latency
from stitchwork.scaling import MOST_GROWTH, Plan, ScalableNetwork, compound_scale, scale_to


def tower(depths, widths, num_classes=3, in_chans=1):
    """Stages of 3x3 convolutions, each at half the resolution of the last."""
    layers, dim = [], in_chans
    for depth, width in zip(depths, widths, strict=True):
        layers.append(nn.MaxPool2d(2))
        for _ in range(depth):
            layers += [nn.Conv2d(dim, width, 3, padding=1, bias=False), nn.ReLU()]
            dim = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dim, num_classes))


def describe(**changes):
    arguments = {"depths": (1, 2), "widths": (8, 16), "resolution": 32, "build": tower, "in_chans": 1, "name": "tower"}
    return ScalableNetwork(**arguments | changes)


TOWER = describe()
BASE = 256 * 9 * 8 + 64 * 9 * (8 * 16 + 16 * 16) + 16 * 3  # multiply-adds of its three convolutions and its head


# The rule


def test_two_lines_from_a_budget_to_a_network():
    plan = scale_to("efficientnet_b0", parameters=7e6)
    model = plan.build(num_classes=10)
    assert model(torch.randn(plan.input_size)[:, :, :64, :64]).shape == (1, 10)
    assert count_parameters(plan.build()) == plan.parameters <= 7e6


def test_phi_0_is_b0():
    plan = compound_scale("efficientnet_b0", 0)
    assert (plan.parameters, plan.multiply_adds) == (5_288_548, 385_814_752)
    assert (plan.depths, plan.input_size) == ((1, 2, 2, 3, 3, 4, 1), (1, 3, 224, 224))


def test_phi_1_by_hand():
    """1.2, 1.1 and 1.15: ceil(1.2 n) blocks, 1.1 c channels to the nearest 8, 257.6 pixels to the nearest 8."""
    plan = compound_scale("efficientnet_b0", 1)
    assert plan.depths == (2, 3, 3, 4, 4, 5, 2)
    assert plan.widths == (32, 16, 24, 48, 88, 120, 208, 352, 1408)
    assert plan.resolution == 256
    model = plan.build()
    assert [len(stage) for stage in model.stages] == list(plan.depths)
    assert [stage[-1].project.conv.out_channels for stage in model.stages] == list(plan.widths[1:-1])
    assert (model.stem.conv.out_channels, model.num_features) == (plan.widths[0], plan.widths[-1])


def test_released_multipliers_give_the_released_networks():
    """The plan's shape is that of B5, which the paper's search did not reach by phi alone."""
    plan = Plan(stitchwork.scaling.EFFICIENTNET_B0, math.nan, depth=2.2, width=1.6, resolution=456)
    with torch.device("meta"):
        b5 = create_model("efficientnet_b5")
    assert plan.parameters == count_parameters(b5) == 30_389_784
    assert plan.multiply_adds == 10_266_384_752


@pytest.mark.parametrize(("depth", "blocks"), [(1.0, (5, 10)), (1.1, (6, 11)), (1.2, (6, 12)), (0.1, (1, 1))])
def test_depth_is_rounded_up(depth, blocks):
    """And 10 x 1.1 is 11, though a floating-point number makes a hair more of it."""
    assert describe(depths=(5, 10)).scaled_depths(depth) == blocks


@pytest.mark.parametrize(("width", "channels"), [(1.0, (16, 40)), (1.2, (24, 48)), (1.1, (16, 48)), (0.1, (8, 8))])
def test_width_is_rounded_to_eights_and_no_tenth_down(width, channels):
    assert describe(widths=(16, 40)).scaled_widths(width) == channels


def test_each_dimension_alone():
    deep = compound_scale(TOWER, 1, 2, 1, 1)
    wide = compound_scale(TOWER, 1, 1, 2, 1)
    sharp = compound_scale(TOWER, 1, 1, 1, 2)
    assert (deep.depths, deep.widths, deep.resolution) == ((2, 4), (8, 16), 32)
    assert (wide.depths, wide.widths, wide.resolution) == ((1, 2), (16, 32), 32)
    assert (sharp.depths, sharp.widths, sharp.resolution) == ((1, 2), (8, 16), 64)


def test_cost_of_a_described_network():
    plan = compound_scale(TOWER, 1, 2, 1, 1)
    model = tower((2, 4), (8, 16))
    assert plan.parameters == count_parameters(model)
    assert plan.multiply_adds == count_multiply_adds(model, input_size=(1, 1, 32, 32))
    by_hand = 9 * 256 * (8 + 8 * 8) + 9 * 64 * (8 * 16 + 3 * 16 * 16) + 16 * 3
    assert plan.multiply_adds == by_hand


def test_nothing_is_built_off_the_meta_device_to_count():
    devices = []

    def build(depths, widths):
        model = tower(depths, widths)
        devices.append(next(model.parameters()).device.type)
        return model

    scale_to(describe(build=build), multiply_adds=5e6)
    assert set(devices) == {"meta"}


# Budgets


@pytest.mark.parametrize(
    ("kind", "factor"),
    [("multiply_adds", f) for f in (0.1, 0.9, 1.0, 3.3, 40, 900)] + [("parameters", f) for f in (0.3, 1.0, 3.3, 40)],
)
def test_the_largest_that_fits(kind, factor):
    """No phi on a fine grid above gives a network that is larger and fits too."""
    budget = factor * getattr(compound_scale(TOWER, 0), kind)
    plan = scale_to(TOWER, **{kind: budget})
    cost = getattr(plan, kind)
    assert cost <= budget and plan.budget == (kind, budget)
    highest = math.log(MOST_GROWTH) / math.log(1.2 * 1.1**2 * 1.15**2)
    for step in range(1, 20):
        other = getattr(compound_scale(TOWER, min(plan.phi + 0.02 * step, highest)), kind)
        assert other == cost or other > budget


def test_a_larger_budget_gives_no_smaller_plan():
    plans = [scale_to(TOWER, multiply_adds=m) for m in (1e5, 2e5, 1e6, 1e7)]
    assert [p.phi for p in plans] == sorted(p.phi for p in plans)
    assert len({p.multiply_adds for p in plans}) == 4


def test_exactly_what_the_base_has_is_enough():
    """And phi is then 0, not a number that rounds to it."""
    base = compound_scale(TOWER, 0)
    plan = scale_to(TOWER, multiply_adds=base.multiply_adds)
    assert plan.multiply_adds == base.multiply_adds and str(plan.phi) == "0.0"


@pytest.fixture
def clock(monkeypatch):
    """A machine that does a million multiply-adds in a millisecond, and needs half a millisecond for each call."""
    timed = []

    def measure(model, images, **_):
        timed.append(tuple(images.shape))
        seconds = (count_multiply_adds(model, images) / 1e6 + 0.5) / 1e3
        return Measurement(seconds, seconds, seconds, (seconds,))

    monkeypatch.setattr(stitchwork.scaling, "measure_latency", measure)
    return timed


def test_milliseconds(clock):
    plan = scale_to(TOWER, milliseconds=10, batch_size=2)
    assert 2 * plan.multiply_adds / 1e6 + 0.5 == plan.milliseconds <= 10
    larger = (compound_scale(TOWER, plan.phi + 0.01 * k) for k in range(1, 300))
    phi = next(p.phi for p in larger if p.multiply_adds > plan.multiply_adds)
    assert 2 * compound_scale(TOWER, phi + 0.06).multiply_adds / 1e6 + 0.5 > 10  # as exact as a clock deserves
    assert {shape[0] for shape in clock} == {2} and len(clock) < 20


def test_milliseconds_of_this_machine():
    base = compound_scale(TOWER, 0)
    budget = 5e3 * measure_latency(base.build(), torch.randn(base.input_size)).median
    plan = scale_to(TOWER, milliseconds=budget)
    assert 0 < plan.milliseconds <= budget
    assert plan.multiply_adds > base.multiply_adds
    assert "ms" in str(plan)


def smallest_and_largest(kind):
    lowest, highest = stitchwork.scaling._range(1.2 * 1.1**2 * 1.15**2)
    return getattr(compound_scale(TOWER, lowest), kind), getattr(compound_scale(TOWER, highest), kind)


@pytest.mark.parametrize("kind", ["multiply_adds", "parameters"])
@pytest.mark.parametrize("amount", [0, -5, math.nan, -math.inf, 1, 1e30, math.inf])
def test_bad_budget(kind, amount):
    """The message names the nearest one that would do, and that does."""
    smallest, largest = smallest_and_largest(kind)
    nearest = largest if amount > 1 else smallest
    with pytest.raises(ValueError, match=f"{kind} must be .* tower.* has") as refusal:
        scale_to(TOWER, **{kind: amount})
    assert f"{nearest:,}" in str(refusal.value) and f"got {amount:g}" in str(refusal.value)
    assert getattr(scale_to(TOWER, **{kind: nearest}), kind) == nearest


@pytest.mark.parametrize(("amount", "message"), [(0, "greater than 0"), (0.1, "at least"), (1e9, "at most about")])
def test_bad_time(clock, amount, message):
    with pytest.raises(ValueError, match=f"milliseconds must be {message}.* ms"):
        scale_to(TOWER, milliseconds=amount)
    assert max((shape[-1] for shape in clock), default=0) <= 32, "a huge network was timed"


def test_two_budgets():
    """The message says which of them decides, and its plan keeps within the other."""
    with pytest.raises(ValueError, match="multiply_adds=1e\\+07 and parameters=20000: give parameters=20000 alone"):
        scale_to(TOWER, multiply_adds=1e7, parameters=20000)
    assert scale_to(TOWER, parameters=20000).multiply_adds <= 1e7


def test_no_budget():
    with pytest.raises(ValueError, match=r"give a budget: .*; tower itself has 239,664 multiply-adds"):
        scale_to(TOWER)


def test_a_budget_that_no_phi_changes():
    with pytest.raises(ValueError, match=r"only the resolution grows.*give a budget of multiply_adds"):
        scale_to(TOWER, parameters=1e6, alpha=1, beta=1, gamma=2)


# Refusals


@pytest.mark.parametrize("multipliers", [(1, 1, 1), (0.9, 1.1, 1.15), (1.2, 1.1, math.nan)])
def test_bad_multipliers(multipliers):
    with pytest.raises(ValueError, match="alpha, beta and gamma must be at least 1, and one of them greater"):
        compound_scale(TOWER, 1, *multipliers)


@pytest.mark.parametrize("phi", [11, -7, math.nan, math.inf])
def test_bad_phi(phi):
    with pytest.raises(ValueError, match=f"phi must be between .*got {phi}"):
        compound_scale(TOWER, phi)


@pytest.mark.parametrize("base", ["efficientnet_b1", "resnet18", None])
def test_bad_base(base):
    with pytest.raises(ValueError, match="'efficientnet_b0' or a ScalableNetwork"):
        compound_scale(base, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": ()}, "depths must be integers of at least 1"),
        ({"depths": (1, 0)}, "depths must be integers of at least 1"),
        ({"widths": (8, 16.0)}, "widths must be integers of at least 1"),
        ({"resolution": -32}, "resolution must be integers of at least 1"),
        ({"widths": (8, 12)}, "widths must be multiples of width_multiple=8"),
        ({"resolution": 28}, "resolution must be multiples of resolution_multiple=8"),
        ({"build": "tower"}, "build must be a function"),
    ],
)
def test_bad_description(changes, message):
    with pytest.raises(ValueError, match=message):
        describe(**changes)
    if "multiples" in message:
        assert describe(width_multiple=4, resolution_multiple=4, **changes)


def test_a_builder_that_builds_nothing():
    with pytest.raises(TypeError, match=r"tower: build must give an nn\.Module; got list"):
        compound_scale(describe(build=lambda depths, widths: [depths, widths]), 1).build()


# Printed


def test_table():
    plan = scale_to(TOWER, multiply_adds=2e6)
    frame = plan.to_frame()
    assert list(frame.index) == ["resolution", "blocks", "widths", "parameters", "multiply_adds"]
    assert frame.loc["multiply_adds", "plan"] == plan.multiply_adds
    assert frame.loc["multiply_adds", "base"] == BASE
    assert frame.loc["multiply_adds", "factor"] == pytest.approx(plan.multiply_adds / BASE)
    lines = str(plan).splitlines()
    assert lines[0].startswith(f"tower at phi = {plan.phi:.2f}")
    assert lines[-1] == f"{plan.multiply_adds / 2e6:.0%} of the budget of 2,000,000 multiply-adds"
    assert any(line.split()[:2] == ["multiply-adds", "239,664"] for line in lines)
    assert "budget" not in str(compound_scale(TOWER, 1))


def test_time_in_the_table(clock):
    frame = scale_to(TOWER, milliseconds=10).to_frame()
    assert frame.loc["milliseconds", "plan"] > 0 and frame.loc["milliseconds", "factor"] is None
    assert "nan" not in str(scale_to(TOWER, milliseconds=10))


def test_bounds_are_what_the_messages_say():
    _, highest = stitchwork.scaling._range(2)
    assert 2**highest == pytest.approx(MOST_GROWTH)
