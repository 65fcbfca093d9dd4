"""Sizes in and out: default, non-square, odd, tiny; batches of one; other channel counts."""

import re
from functools import partial

import pytest
import torch

from .probes import noise
from .subjects import BLOCKS, EVERY, MODELS, SMALL, SMALL_BLOCKS, SMALL_MODELS, over


def check_output_shape(build, shape, expected):
    """An input of ``shape`` gives a finite output of the ``expected`` shape."""
    with torch.no_grad():
        y = build().eval()(noise(shape))
    assert tuple(y.shape) == tuple(expected), f"input {tuple(shape)} gives {tuple(y.shape)}, expected {tuple(expected)}"
    assert y.isfinite().all(), f"input {tuple(shape)} gives values that are not finite"


def check_exact_or_refused(build, shape, expected, shows=None):
    """Exactly the expected shape, or a ValueError with one of the numbers ``shows``: without it, the size."""
    try:
        check_output_shape(build, shape, expected)
    except ValueError as error:
        numbers = [str(n) for n in shows or shape[2:]]
        shown = any(re.search(rf"\b{n}\b", str(error)) for n in numbers)
        assert shown, f"the refusal of {tuple(shape)} does not show {' or '.join(numbers)}: {error}"


def check_single_item_in_training(build, shape):
    """A batch of one goes through training mode, forward and backward."""
    assert shape[0] == 1
    try:
        y = build().train()(noise(shape).requires_grad_())  # the input, for modules without parameters
    except ValueError as error:  # of a BatchNorm that sees one value in each channel
        raise AssertionError(f"a batch of one is refused in training mode: {error}") from error
    assert y.isfinite().all(), "a batch of one in training mode gives values that are not finite"
    y.sum().backward()


def check_shape_on_meta(build, shape, expected):
    """The output's shape, inferred without computing anything."""
    with torch.device("meta"):
        y = build().eval()(torch.empty(shape))
    assert tuple(y.shape) == tuple(expected), f"input {tuple(shape)} gives {tuple(y.shape)}, expected {tuple(expected)}"


@over(EVERY)
def test_default_size_of_every_name(subject):
    shape = (2, *subject.default_size)
    check_shape_on_meta(subject.at(*shape[2:]), shape, subject.output_shape(shape))


@over(SMALL)
def test_default_size(subject):
    shape = (1, *subject.default_size)
    check_output_shape(subject.at(*shape[2:]), shape, subject.output_shape(shape))


@pytest.mark.parametrize("factors", [(1, 2), (3, 1)], ids=["wide", "tall"])
@over(SMALL)
def test_non_square(subject, factors):
    side = 32 if subject.is_model else 7
    shape = (2, subject.default_size[0], side * factors[0], side * factors[1])
    check_output_shape(subject.at(*shape[2:]), shape, subject.output_shape(shape))


@pytest.mark.parametrize("size", [(33, 47), (7, 13)], ids="{0[0]}x{0[1]}".format)
@over(SMALL)
def test_odd_sizes(subject, size):
    shape = (2, subject.default_size[0], *subject.fitting(*size))
    check_output_shape(subject.at(*shape[2:]), shape, subject.output_shape(shape))


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 2), (1, 9)], ids="{0[0]}x{0[1]}".format)
@over(SMALL)
def test_tiny_maps(subject, size):
    shape = (2, subject.default_size[0], *size)
    check_exact_or_refused(subject.at(*shape[2:]), shape, subject.output_shape(shape))


@over(SMALL)
def test_batch_of_one(subject):
    shape = (1, *subject.small_size)
    check_output_shape(subject.at(*shape[2:]), shape, subject.output_shape(shape))


@over(SMALL)
def test_batch_of_one_in_training(subject):
    check_single_item_in_training(subject.build, (1, *subject.small_size))


# 24 and 67 are multiples of no reduction that the modules use; 1 is the least there is.
@pytest.mark.parametrize("dim", [1, 24, 67])
@over(SMALL_BLOCKS)
def test_other_widths(subject, dim):
    shape = (2, dim, 7, 9)
    check_exact_or_refused(partial(subject.at(7, 9), dim=dim), shape, shape, shows=[dim])


@over(SMALL_BLOCKS)
def test_twice_the_width(subject):
    shape = (2, 2 * subject.dim, 7, 9)
    check_output_shape(partial(subject.at(7, 9), dim=2 * subject.dim), shape, shape)


@pytest.mark.parametrize("in_chans", [1, 4])
@over(SMALL_MODELS)
def test_other_input_channels(subject, in_chans):
    shape = (2, in_chans, *subject.small_size[1:])
    check_output_shape(lambda: subject.build(in_chans=in_chans), shape, subject.output_shape(shape))


@pytest.mark.parametrize("num_classes", [1, 7])
@over(SMALL_MODELS)
def test_other_numbers_of_classes(subject, num_classes):
    shape = (2, *subject.small_size)
    check_output_shape(lambda: subject.build(num_classes=num_classes), shape, subject.output_shape(shape, num_classes))


@over(MODELS)
def test_input_channels_and_classes_of_every_network(subject):
    shape = (2, 4, 64, 64)
    check_shape_on_meta(partial(subject.at(64, 64), num_classes=7, in_chans=4), shape, subject.output_shape(shape, 7))


@over(BLOCKS)
def test_other_widths_of_every_block(subject):
    shape = (2, 2 * subject.dim, 9, 5)
    check_shape_on_meta(partial(subject.at(9, 5), dim=2 * subject.dim), shape, shape)
