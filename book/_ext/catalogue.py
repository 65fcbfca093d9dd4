"""The catalogue: one row for each registered name, from the registry and the bibliography.

The table is an ordinary one, with links that Sphinx resolves and words that its search finds; DataTables, as the
package itables ships it, makes it sortable and filterable in the browser, served or opened from a folder.
"""

import base64
from importlib import resources
from pathlib import Path

import torch
from docutils import nodes
from docutils.statemachine import StringList
from pybtex.database import BibliographyData, parse_file
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import stitchwork
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.registry import Entry

HEADER = ("Name", "Paper", "Venue", "Year", "Parameters", "Multiply-adds", "Proved equal to", "Chapter", "Kind")
LIBRARIES = {
    "timm": "timm’s `{}`",
    "torchvision": "torchvision’s `{}`",
    "recorded": "the recorded fingerprint",
    "transcription": "its equations",
    "counted": "its published counts",
    "sibling": "nothing; our own size of `{}`",
}


def proof(references: tuple[str, ...]) -> str:
    """What an entry is proved equal to, in words: ``("timm:resnet50",)`` becomes “timm’s `resnet50`”."""
    named = (reference.split(":", 1) for reference in references)
    return ", ".join(dict.fromkeys(LIBRARIES[library].format(name) for library, name in named))


def venue(fields: dict[str, str]) -> str:
    """Where a paper appeared, by the abbreviation that the bibliography has in brackets if there is one."""
    where = next(fields[key] for key in ("booktitle", "journal", "school", "howpublished") if key in fields)
    return where.partition("(")[2].removesuffix(")") or where


def chapter(entry: Entry, written: set[str]) -> str:
    """A link to the chapter that teaches an entry, or its number while it is not ``written`` yet."""
    page = f"notebooks/{entry.chapter}"
    number = entry.chapter.split("_")[0]
    return f"{{doc}}`Chapter {number} </{page}>`" if page in written else f"Chapter {number} (to come)"


def row(entry: Entry, bibliography: BibliographyData, written: set[str]) -> list[str]:
    """The cells of one entry, as MyST text. Costs are counted on the meta device: no memory, no arithmetic."""
    with torch.device("meta"):
        if entry.kind == "block":
            arguments, size = entry.example()
            module = stitchwork.create_block(entry.name, **arguments)
        else:
            module = stitchwork.create_model(entry.name)
            size = (1, module.in_chans, 224, 224)
    paper = bibliography.entries[entry.paper]
    title = paper.fields["title"].replace("{", "").replace("}", "")
    return [
        f"`{entry.name}`",
        f"{title} {{cite:p}}`{entry.paper}`",
        venue(paper.fields),
        paper.fields["year"],
        f"{count_parameters(module):,}",
        f"{count_multiply_adds(module, input_size=size):,}",
        proof(entry.references),
        chapter(entry, written),
        "block" if entry.kind == "block" else "network",
    ]


class Catalogue(SphinxDirective):
    """``{catalogue}``: the table, and the script that makes it sort and filter."""

    def run(self) -> list[nodes.Node]:
        """The table, parsed from a MyST list-table."""
        for bibfile in self.config.bibtex_bibfiles:
            self.env.note_dependency(str(Path(self.env.srcdir, bibfile)))
        bibliography = parse_file(Path(self.env.srcdir, self.config.bibtex_bibfiles[0]))
        names = [*stitchwork.list_blocks(), *stitchwork.list_models()]
        rows = [HEADER, *(row(stitchwork.describe(name), bibliography, self.env.found_docs) for name in names)]
        lines = ["```{list-table}", ":header-rows: 1", ":class: catalogue", ""]
        for cells in rows:
            lines += [f"{'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(cells)]
        lines.append("```")
        container = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, container)
        return container.children


def write_table_script(app: Sphinx, exception: Exception | None) -> None:
    """Write DataTables into ``_static``, as a classic script: a page opened from a folder may not import modules."""
    if exception or app.builder.format != "html":
        return
    bundle = resources.files("itables") / "html"
    encoded = base64.b64encode((bundle / "dt_bundle.js").read_bytes()).decode()
    static = Path(app.outdir, "_static")
    (static / "datatables.css").write_bytes((bundle / "dt_bundle.css").read_bytes())
    (static / "datatables.js").write_text(
        "const bytes = Uint8Array.from(atob('" + encoded + "'), (c) => c.charCodeAt(0));\n"
        "window.dataTables = import(URL.createObjectURL(new Blob([bytes], {type: 'text/javascript'})));\n",
        encoding="utf-8",
    )


def load_table_script(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Load DataTables on the pages that have the table, and on no other."""
    if doctree is not None and any("catalogue" in table["classes"] for table in doctree.findall(nodes.table)):
        app.add_css_file("datatables.css")
        app.add_js_file("datatables.js")
        app.add_js_file("catalogue.js")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("catalogue", Catalogue)
    app.connect("html-page-context", load_table_script)
    app.connect("build-finished", write_table_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
