"""The errata page: every entry of ``stitchwork.errata``, with its two numbers computed here and now."""

from itertools import groupby

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from stitchwork.errata import Erratum, errata


def number(value: float) -> str:
    """A measured number, short; what is nearly nothing as 0."""
    if value == float("inf"):
        return "it fails"
    return "0" if abs(value) < 1e-9 else f"{value:.2g}"


def entry(erratum: Erratum) -> list[str]:
    """One entry as MyST text."""
    ours, theirs = erratum.demonstrate()
    return [
        f"({erratum.key})=",
        f"**In {erratum.found_in}.** {erratum.text}",
        "",
        f"> {erratum.meaning[0].upper()}{erratum.meaning[1:]}: **{number(ours)}** with ours, **{number(theirs)}** "
        "with the defect.",
        "",
    ]


class Errata(SphinxDirective):
    """``{errata}``: a section for each block that has entries."""

    def run(self) -> list[nodes.Node]:
        """The sections, parsed from MyST text."""
        lines: list[str] = []
        for block, entries in groupby(errata().values(), key=lambda erratum: erratum.block):
            lines += [f"## `{block}`", ""]
            for erratum in entries:
                lines += entry(erratum)
        container = nodes.section()
        container.document = self.state.document
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, container, match_titles=True)
        return container.children


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("errata", Errata)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
