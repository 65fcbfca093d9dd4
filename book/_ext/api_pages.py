"""API pages from docstrings: every module of a package, found, so that a new file needs no entry anywhere."""

import importlib
import pkgutil
import re

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def modules_of(name: str) -> list[str]:
    """``name`` itself if it is a module, or else that package's modules: no private ones, no packages inside it."""
    package = importlib.import_module(name)
    if not hasattr(package, "__path__"):
        return [name]
    found = pkgutil.iter_modules(package.__path__)
    return [f"{name}.{info.name}" for info in found if not info.name.startswith("_") and not info.ispkg]


def builders(module_name: str) -> list[str]:
    """The lines that say how a module of blocks or networks is built by name; none for other modules."""
    module = importlib.import_module(module_name)
    for table, call in (("BLOCKS", 'create_block("{}", dim)'), ("MODELS", 'create_model("{}")')):
        if names := getattr(module, table, None):
            return ["Built by " + ", ".join(f"`{call.format(name)}`" for name in names) + ".", ""]
    return []


class Modules(SphinxDirective):
    """``{modules} stitchwork.blocks``: a section for each module, with its docstring and its members."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The sections, parsed from MyST text."""
        lines: list[str] = []
        for package in self.arguments[0].split():
            for name in modules_of(package):
                lines += [f"## `{name.removeprefix(f'{package}.')}`", "", *builders(name)]
                lines += ["```{eval-rst}", f".. automodule:: {name}", "   :members:", "```", ""]
        container = nodes.section()
        container.document = self.state.document
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, container, match_titles=True)
        return container.children


def typeset(app: Sphinx, what: str, name: str, obj, options, lines: list[str]) -> None:
    """A module's docstring as reStructuredText: indented formulas stay as they are typed, the paper is cited."""
    if what != "module":
        return
    text = "\n".join(lines)
    text = re.sub(r"^Paper: (\w+)", r"Paper: :cite:t:`\1`", text, flags=re.MULTILINE)
    text = re.sub(r"^(Paper|Cost|Growth|Where this differs)\b", r"**\1**", text, flags=re.MULTILINE)
    text = re.sub(r"(?<!::)\n\n(?=    (?! )\S)", "\n\n.. code-block:: text\n\n", text)
    lines[:] = text.split("\n")


def plain_signature(app: Sphinx, what: str, name: str, obj, options, signature: str | None, returns: str | None):
    """A command's signature without what typer adds to each type."""
    return re.sub(r"~?typing\.Annotated\[(.*?), <typer[^>]*>\]", r"\1", signature or ""), returns


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("modules", Modules)
    app.connect("autodoc-process-docstring", typeset)
    app.connect("autodoc-process-signature", plain_signature)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
