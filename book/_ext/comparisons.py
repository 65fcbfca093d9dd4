"""The training comparisons of all chapters, as ``book/data/comparisons.json`` has them."""

import json
from itertools import groupby
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RECORD = Path("book", "data", "comparisons.json")
HEADER = ("Block", "Parameters", "Mean", "95 % interval", "Seeds")


def cells(row: dict) -> tuple[str, ...]:
    """One candidate of a comparison as MyST text."""
    interval = f"{row['low']:.3f} to {row['high']:.3f}"
    return row["block"], f"{row['parameters']:,}", f"{row['mean']:.3f}", interval, str(row["seeds"])


def chapter(name: str, made_by: dict, rows: list[dict]) -> list[str]:
    """The link to a chapter, what made its numbers, and a table for each task."""
    conditions = (
        "preset “{preset}” on {hardware}, with Python {python}, torch {torch} and stitchwork {stitchwork} "
        "(source {source})"
    ).format(**made_by)
    lines = [f"**{{doc}}`/notebooks/{name}`**: {conditions}.", ""]
    for task, found in groupby(rows, key=lambda row: row["task"]):
        lines += [f"```{{list-table}} {task}", ":header-rows: 1", ""]
        for row in [HEADER, *map(cells, found)]:
            lines += [f"{'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
        lines += ["```", ""]
    return lines


class Comparisons(SphinxDirective):
    """``{comparisons}``: every comparison of every chapter."""

    def run(self) -> list[nodes.Node]:
        """The nodes, parsed from MyST text."""
        path = Path(self.env.srcdir, RECORD)
        self.env.note_dependency(str(path))
        record = json.loads(path.read_text(encoding="utf-8"))
        lines = [line for name, found in record.items() for line in chapter(name, found["made_by"], found["rows"])]
        container = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, container)
        return container.children


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("comparisons", Comparisons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
