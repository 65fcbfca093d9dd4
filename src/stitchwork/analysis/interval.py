"""A mean over seeds, and how far to trust it."""

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Mean and ends to three significant digits."""
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


def interval(values: Iterable[float], level: float = 0.95) -> Interval:
    """Mean of independent repetitions with Student's t-interval.

    Args:
        values: at least two finite numbers, one a seed.
        level: the share of such intervals that cover the true mean, between 0 and 1.

    Raises:
        ValueError: fewer than two values, a value that is not finite, or a level outside (0, 1).
    """
    from scipy import stats

    values = [float(value) for value in values]
    if len(values) < 2:
        raise ValueError(f"an interval needs at least two values, one a seed; got {len(values)}")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"an interval needs finite values; got {values}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, such as 0.95; got {level}")
    mean = statistics.fmean(values)
    error = statistics.stdev(values) / math.sqrt(len(values))
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    return Interval(mean, mean - half, mean + half)
