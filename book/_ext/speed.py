"""The speed tables: what ``stitchwork bench speed`` recorded in ``book/data``."""

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RECORDS = Path("book", "data")
HEADER = ("Network", "Against", "Mode", "Ours, images/s", "Theirs, images/s", "Ratio", "Quartiles", "Memory")
MODES = {"eval": "evaluation", "train": "training step", "fused": "evaluation, fused"}
LIBRARIES = {
    "timm": "timm’s `{}`",
    "torchvision": "torchvision’s `{}`",
    "unfused": "itself, unfused",
    "plain": "its plain form",
}


def cells(row: dict) -> tuple[str, ...]:
    """One measured comparison as MyST text."""
    library, name = row["reference"].split(":")
    return (
        f"`{row['network']}`",
        LIBRARIES[library].format(name),
        MODES[row["mode"]],
        f"{row['images_per_second']:.1f}",
        f"{row['reference_images_per_second']:.1f}",
        f"{row['ratio']:.2f}",
        f"{row['q1']:.2f} to {row['q3']:.2f}",
        f"{row['peak_memory'] / row['reference_peak_memory']:.2f}",
    )


def conditions(record: dict) -> str:
    """The sentence that says how and on what the table was measured."""
    return (
        "Batch {batch}, {pixels} × {pixels} pixels, {threads} thread, {pairs} rounds, on {hardware}, "
        "with Python {python}, torch {torch} and stitchwork {stitchwork} (source {source})."
    ).format(**record["conditions"], **record["environment"])


class Speed(SphinxDirective):
    """``{speed} bench_speed.json``: the conditions and the table of the record."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes, parsed from a sentence and a MyST list-table."""
        path = Path(self.env.srcdir, RECORDS, self.arguments[0])
        self.env.note_dependency(str(path))
        record = json.loads(path.read_text(encoding="utf-8"))
        lines = [conditions(record), "", "```{list-table}", ":header-rows: 1", ""]
        for row in [HEADER, *map(cells, record["rows"])]:
            lines += [f"{'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
        lines.append("```")
        container = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, container)
        return container.children


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("speed", Speed)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
