import math

import pytest

from stitchwork.analysis import interval


def test_five_values():
    # Standard deviation sqrt(2.5); Student's t for 4 degrees of freedom and 95 % is 2.776 in every table.
    mean, low, high = interval([1, 2, 3, 4, 5])
    half = 2.776 * math.sqrt(2.5 / 5)
    assert mean == 3
    assert (low, high) == pytest.approx((3 - half, 3 + half), abs=1e-3)


def test_two_values_and_another_level():
    assert interval([0, 2]).high == pytest.approx(1 + 12.706, abs=1e-3)
    assert interval([0, 2], level=0.9).low == pytest.approx(1 - 6.314, abs=1e-3)


def test_equal_values_and_text():
    assert interval([0.5] * 4) == (0.5, 0.5, 0.5)
    assert str(interval([0.5] * 4)) == "0.5 [0.5, 0.5]"


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [([1.0], 0.95, "at least two"), ([1.0, math.nan], 0.95, "finite"), ([1.0, 2.0], 95, "between 0 and 1.*got 95")],
)
def test_bad_values(values, level, message):
    with pytest.raises(ValueError, match=message):
        interval(values, level)
