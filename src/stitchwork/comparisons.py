"""The training comparisons of executed chapters, gathered into one data file.

A chapter glues each as ``glue("comparison", table.to_dict("records"), display=False)``; the second and later ones are
called ``comparison_2`` and so on.
"""

import ast
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from stitchwork.analysis.comparison import COLUMNS

MADE_BY = ("preset", "hardware", "python", "torch", "stitchwork", "source")
MIME = "application/papermill.record/text/plain"


def comparisons(notebook: str | os.PathLike) -> list[dict]:
    """The rows of all comparisons in an executed notebook, in the order of its cells.

    Returns:
        Dictionaries with the names of the task and of the block, the number of parameters, the mean, the lower and the
        upper end of the interval over the seeds, and the number of seeds.

    Raises:
        ValueError: a comparison is not a list of such rows, or its mean is not between the ends of its interval.
    """
    notebook = Path(notebook)
    rows = []
    for name, text in _glued(json.loads(notebook.read_text(encoding="utf-8"))):
        if not name.startswith("comparison"):
            continue
        place = f"{notebook.name}, {name}"
        try:
            found = ast.literal_eval(text)
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"{place}: {text[:60]!r} is no list of rows; glue table.to_dict('records')") from error
        for row in found:
            if not isinstance(row, dict) or set(row) != set(COLUMNS):
                raise ValueError(f"{place}: a row needs {', '.join(COLUMNS)} and nothing else; got {row}")
            if not row["low"] <= row["mean"] <= row["high"]:
                raise ValueError(f"{place}: the mean is not in its interval: {row}")
            rows.append({field: row[field] for field in COLUMNS})
    return rows


def collect(notebooks: Sequence[str | os.PathLike], output: str | os.PathLike) -> dict[str, dict]:
    """Write the comparisons of executed notebooks, with what made them, to a JSON file.

    Returns:
        What was written: file name without suffix -> ``made_by`` (preset, hardware, versions, hash of the package's
        source) and ``rows``. Notebooks without a comparison are left out.

    Raises:
        ValueError: as :func:`comparisons`; a notebook with comparisons lacks the record of what made it.
    """
    record = {}
    for path in sorted(map(Path, notebooks)):
        if not (rows := comparisons(path)):
            continue
        made_by = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("stitchwork", {})
        if missing := [field for field in MADE_BY if field not in made_by]:
            raise ValueError(f"{path.name} does not say its {', '.join(missing)}; execute it with `stitchwork run`")
        record[path.stem] = {"made_by": {field: made_by[field] for field in MADE_BY}, "rows": rows}
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    Path(output).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return record


def _glued(notebook: dict) -> Iterator[tuple[str, str]]:
    """Name and text of everything that a notebook has glued."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name is not None and MIME in output["data"]:
                yield name, "".join(output["data"][MIME])
