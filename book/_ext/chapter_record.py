"""Under each chapter's title: what made its outputs, as the notebook's metadata has it."""

import json
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

FIELDS = ("preset", "hardware", "python", "torch", "stitchwork", "source", "seconds")


def sentence(record: dict) -> str:
    """The record in words: preset, hardware, versions, hash of the package's source, seconds."""
    return (
        "These outputs were made with the preset “{preset}” on {hardware} in {seconds:.0f} s, "
        "with Python {python}, torch {torch} and stitchwork {stitchwork} (source {source})."
    ).format(**record)


def show_record(app: Sphinx, doctree: nodes.document) -> None:
    """Put the sentence under the title, and take out the cell in which papermill injected its parameters."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    record = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("stitchwork", {})
    if missing := [field for field in FIELDS if field not in record]:
        logging.getLogger(__name__).warning(
            "the notebook's metadata['stitchwork'] lacks %s: execute it with `stitchwork run`",
            ", ".join(missing),
            location=app.env.docname,
        )
        return
    title = next(doctree.findall(nodes.title))
    title.parent.insert(
        title.parent.index(title) + 1, nodes.paragraph("", sentence(record), classes=["chapter-record"])
    )
    for cell in list(doctree.findall(nodes.container)):
        if "tag_injected-parameters" in cell["classes"]:
            cell.parent.remove(cell)


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("doctree-read", show_record)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
