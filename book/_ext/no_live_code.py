"""Take out the live-code button's script, which Jupyter Book always adds and which would load from a CDN."""

from sphinx.application import Sphinx


def drop_thebe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Drop every script of sphinx-thebe from a page."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in str(script.filename) and "THEBE" not in script.attributes.get("body", "")
    ]


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("html-page-context", drop_thebe)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
