"""What cannot work is refused with a ValueError that names the argument, the value and the way out."""

import inspect

import pytest
import torch

from .probes import noise
from .subjects import EVERY, SMALL, SMALL_BLOCKS, SMALL_MODELS, over

# Arguments for which zero is a meaning of its own; they refuse -1 instead.
ZERO_IS_LEGAL = {"num_classes", "dropout", "drop_path_rate", "num_attention", "num_conv"}
# A message says what to do in one of these ways.
ADVICE = (
    "must be",
    "at least",
    "add ",
    "build it",
    "enlarge",
    "pad ",
    "permute",
    "reshape",
    "use ",
    "take ",
    "did you mean",
)


def check_refused(call, *fragments):
    """``call`` raises a ValueError whose message has every one of ``fragments``, and advice."""
    try:
        call()
    except ValueError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} in the place of a ValueError: {error}") from error
    else:
        raise AssertionError("accepted without an error")
    lacking = [f for f in fragments if f not in message]
    assert not lacking, f"the message lacks {lacking}: {message}"
    assert any(advice in message for advice in ADVICE), f"the message does not say what to do: {message}"


def check_refuses_inputs(build, shape):
    """Wrong rank, wrong channel count and no pixels at all are refused, in the words of the outermost module."""
    module = build().eval()
    owner = type(module).__name__
    batch, channels, height, width = shape
    wrong = {
        "no batch axis": (channels, height, width),
        "five axes": (batch, channels, 1, height, width),
        "two axes": (batch, channels),
        "a channel too many": (batch, channels + 1, height, width),
        "a channel too few": (batch, channels - 1, height, width),
        "channels last": (batch, height, width, channels),
        "no rows": (batch, channels, 0, width),
        "no columns": (batch, channels, height, 0),
    }
    for what, bad in wrong.items():
        try:
            check_refused(lambda bad=bad: module(noise(bad)), owner, str(bad), str(channels))
        except AssertionError as error:
            # The channel count is no help where only the size is wrong.
            if not (what in ("no rows", "no columns") and f"lacks ['{channels}']" in str(error)):
                raise AssertionError(f"{what}, {bad}: {error}") from error


def check_refuses_small(build, channels):
    """One pixel less than the least size is refused; the least size itself is not."""
    module = build().eval()
    least = max(getattr(module, "min_size", 1), getattr(module, "multiple", 1))
    with torch.no_grad():
        module(noise((1, channels, least, least)))
    for height, width in ((least - 1, least), (least, least - 1)):
        check_refused(lambda size=(height, width): module(noise((1, channels, *size))), str(least), str(least - 1))


def numeric_arguments(constructor):
    """The names of the constructor's arguments that are a number, or None for a number that follows from others."""
    numeric = (int, float, int | None, float | None)
    return [p.name for p in inspect.signature(constructor).parameters.values() if p.annotation in numeric]


def check_refuses_argument(build, argument):
    """The constructor refuses a value of ``argument`` that is out of range."""
    values = (-1,) if argument in ZERO_IS_LEGAL else (0, -1)
    for value in values:
        check_refused(lambda value=value: build(**{argument: value}), argument, str(value))


@over(EVERY)
def test_refuses_inputs(subject):
    def build():
        with torch.device("meta"):
            return subject.build()

    check_refuses_inputs(build, (2, *subject.small_size))


@over(SMALL)
def test_refuses_small(subject):
    check_refuses_small(subject.at(1, 1), subject.default_size[0])


@over([subject for subject in SMALL_BLOCKS if subject.entry.needs_size])
def test_refuses_another_size(subject):
    module = subject.at(9, 5)()
    check_refused(lambda: module(noise((2, subject.dim, 5, 9))), "size", "(9, 5)", "(5, 9)")


@over([subject for subject in SMALL_MODELS if subject.multiple > 1])
def test_refuses_what_does_not_divide(subject):
    with torch.device("meta"):
        module = subject.build()
    side = subject.multiple
    for size in ((side, 2 * side + 1), (3 * side - 1, side)):
        check_refused(lambda size=size: module(noise((1, subject.channels, *size))), str(side), str(size))


@pytest.mark.parametrize(
    ("subject", "argument"),
    [pytest.param(s, a, id=f"{s}-{a}") for s in SMALL for a in numeric_arguments(s.entry.constructor)],
)
def test_refuses_argument(subject, argument):
    check_refuses_argument(subject.build, argument)


@over(SMALL)
def test_refuses_unknown_argument(subject):
    with pytest.raises(TypeError, match="no_such_argument"):
        subject.build(no_such_argument=1)
