import dataclasses

import pytest

from stitchwork.training import Recipe


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("weight_decay", -0.1),
        ("warmup", 1.1),
        ("clip_norm", 0.0),
        ("label_smoothing", 1.0),
        ("mixup", -1.0),
        ("ema", 1.0),
        ("precision", "fp8"),
        ("seed", "0"),
        ("optimiser", "adam"),
        ("schedule", "linear"),
    ],
)
def test_a_bad_value_is_named(argument, value):
    with pytest.raises(ValueError, match=rf"{argument} must be .*; got {value!r}"):
        Recipe(**{argument: value})


def test_the_edges_are_allowed():
    Recipe(epochs=1, batch_size=1, weight_decay=0, warmup=1, clip_norm=None, label_smoothing=0, mixup=0, ema=0)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().lr = 1.0
