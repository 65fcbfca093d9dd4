"""What several blocks reached on one task, as a table."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from stitchwork.analysis.interval import interval

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("task", "block", "parameters", "mean", "low", "high", "seeds")


def comparison_table(
    task: str, results: Mapping[str, Iterable[float]], parameters: Mapping[str, int]
) -> "pd.DataFrame":
    """Mean and 95 % interval of each candidate over its seeds.

    A chapter glues ``comparison_table(...).to_dict("records")`` as ``comparison``, and the book gathers it.

    Args:
        task: what the candidates were trained for, in a few words.
        results: name of the candidate to one error (or one share of right answers) a seed.
        parameters: name of the candidate to its number of parameters.

    Returns:
        A row for each candidate with the columns task, block, parameters, mean, low, high, seeds.

    Raises:
        ValueError: a candidate without a number of parameters; as :func:`interval`.
    """
    import pandas as pd

    rows = []
    for name, values in results.items():
        if name not in parameters:
            raise ValueError(f"no number of parameters for {name!r}; there is one for {', '.join(parameters)}")
        values = list(values)
        rows.append((task, name, parameters[name], *interval(values), len(values)))
    return pd.DataFrame(rows, columns=list(COLUMNS))
