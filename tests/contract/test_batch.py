"""In evaluation an item's output depends on that item alone."""

import torch

from .probes import assert_same, exact, noise
from .subjects import SMALL, over


def check_batch_independence(build, shape):
    """An item gives the same output alone as in a batch."""
    module, x = exact(build), noise(shape, dtype=torch.float64)
    with torch.no_grad():
        together = module(x)
        for i in range(len(x)):
            assert_same(together[i : i + 1], module(x[i : i + 1]), f"item {i} in the batch, against alone")


def check_bad_neighbour(build, shape):
    """A NaN in the last item leaves the others as they were."""
    module, x = exact(build), noise(shape, dtype=torch.float64)
    with torch.no_grad():
        expected = module(x)[:-1]
        x[-1] = float("nan")
        actual = module(x)[:-1]
    assert actual.isfinite().all(), "a NaN in one item reaches the others"
    assert_same(actual, expected, "the neighbours of an item with NaN")


@over(SMALL)
def test_batch_independence(subject):
    check_batch_independence(subject.build, (3, *subject.small_size))


@over(SMALL)
def test_bad_neighbour(subject):
    check_bad_neighbour(subject.build, (3, *subject.small_size))
