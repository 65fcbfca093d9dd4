"""The table of the blocks: what ``stitchwork bench blocks`` recorded in ``book/data/bench_blocks.json``."""

import json
from itertools import groupby
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RECORD = Path("book", "data", "bench_blocks.json")


def short(milliseconds: float) -> str:
    """Three digits, and no fewer than those before the point."""
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def cells(rows: list[dict], growth: dict) -> tuple[str, ...]:
    """One block as MyST text; the comparison is the one on the largest image on which the plain form could run."""
    middle = rows[len(rows) // 2]
    compared = [row for row in rows if row["ratio"] is not None][-1]
    return (
        f"`{middle['block']}`",
        f"{middle['parameters']:,}",
        f"{middle['multiply_adds'] / 1e6:,.2f}",
        " / ".join(short(row["milliseconds"]) for row in rows),
        f"{growth['exponent']:.2f} ({growth['claimed']:g})",
        f"{compared['ratio']:.2f}" + ("" if compared is rows[-1] else f" at {compared['side']}²"),
        f"{rows[-1]['library_ratio']:.2f} ({rows[-1]['library']})" if rows[-1]["library"] else "",
        f"{compared['peak_bytes'] / 2**20:.1f} / {compared['plain_peak_bytes'] / 2**20:.1f}",
    )


class BlockCosts(SphinxDirective):
    """``{block-costs}``: the conditions and the table of the record."""

    def run(self) -> list[nodes.Node]:
        """The nodes, parsed from a sentence and a MyST list-table."""
        path = Path(self.env.srcdir, RECORD)
        self.env.note_dependency(str(path))
        record = json.loads(path.read_text(encoding="utf-8"))
        sides = record["conditions"]["sides"]
        middle = sides[len(sides) // 2]
        growths = {growth["block"]: growth for growth in record["growth"]}
        header = (
            "Block",
            "Parameters",
            f"10⁶ multiply-adds at {middle}²",
            "Milliseconds at " + ", ".join(f"{side}²" for side in sides),
            "Growth (documented)",
            "Plain form’s time by ours",
            "A library’s time by ours",
            "Peak MB, ours / plain",
        )
        grouped = [list(rows) for _, rows in groupby(record["rows"], key=lambda row: row["block"])]
        table = [header, *(cells(rows, growths[rows[0]["block"]]) for rows in grouped)]
        conditions = (
            "One image of {dim} channels, {threads} thread, on {hardware}, with Python {python}, torch {torch} and "
            "stitchwork {stitchwork} (source {source})."
        ).format(dim=record["rows"][0]["dim"], **record["conditions"], **record["environment"])
        lines = [conditions, "", "```{list-table}", ":header-rows: 1", ":class: wide", ""]
        for row in table:
            lines += [f"{'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
        lines.append("```")
        container = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, container)
        return container.children


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("block-costs", BlockCosts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
