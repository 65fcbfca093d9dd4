"""What every chapter must be, checked on the file that is committed.

Each check takes a notebook and gives a list of complaints. The second half of this file breaks a sound small notebook
in every way that the checks know, and sees them complain.
"""

import ast
import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from stitchwork.presets import PRESETS
from stitchwork.provenance import SETUP_CELL

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))

CELLS, WORDS, BYTES = range(30, 66), range(2000, 4501), 3_000_000
# One word of each heading that the template asks for.
HEADINGS = ("question", "idea", "arithmetic", "code", "proof", "inside", "measure", "train", "wrong", "exercises")
RECORD = ("preset", "hardware", "python", "torch", "stitchwork", "source", "seconds")
ABSOLUTE = re.compile(r"(?<![\w:/.])/(?:home|root|tmp|work|content|mnt|Users|var)/|\b[A-Z]:\\")
RELATIVE = re.compile(r"""["'](?:\.\.?/|(?:book|notebooks|src|tests)/)""")

Notebook = nbformat.NotebookNode


def code(notebook: Notebook) -> list[Notebook]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: Notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def outputs(notebook: Notebook) -> Iterator[tuple[Notebook, Notebook]]:
    """Every output with its cell."""
    for cell in code(notebook):
        for output in cell.outputs:
            yield cell, output


def first_line(cell: Notebook) -> str:
    return cell.source.partition("\n")[0]


def tags(cell: Notebook) -> list[str]:
    return cell.metadata.get("tags", [])


def parsed(cell: Notebook) -> ast.Module:
    """The cell's syntax tree, lines for IPython left out."""
    return ast.parse("\n".join(line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!"))))


def starts_with_its_title(notebook: Notebook) -> list[str]:
    titles = re.findall(r"^# .+", re.sub(r"^(`{3,}).*?^\1`*$", "", prose(notebook), flags=re.M | re.S), flags=re.M)
    first = notebook.cells[0]
    sound = first.cell_type == "markdown" and first.source.startswith("# ") and len(titles) == 1
    return [] if sound else [f"one title, in the first cell; there are {titles}"]


def executed_in_order(notebook: Notebook) -> list[str]:
    counts = [cell.execution_count for cell in code(notebook) if cell.source.strip()]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"executed in the order {counts}"]


def no_stored_errors(notebook: Notebook) -> list[str]:
    return [f"{first_line(cell)}: {out.ename}" for cell, out in outputs(notebook) if out.output_type == "error"]


def setup_cell(notebook: Notebook) -> list[str]:
    return [] if code(notebook)[0].source == SETUP_CELL else ["the first code cell is not SETUP_CELL"]


def parameters_cell(notebook: Notebook) -> list[str]:
    cell = code(notebook)[1]
    names = {target.id for node in parsed(cell).body if isinstance(node, ast.Assign) for target in node.targets}
    complaints = [] if "parameters" in tags(cell) else ["the second code cell is not tagged parameters"]
    return complaints + ([] if names == {"seed", "preset"} else [f"the parameters are {sorted(names)}"])


def checked_cells(notebook: Notebook) -> list[str]:
    checked = [cell for cell in code(notebook) if "nbval-check-output" in tags(cell) and cell.outputs]
    return [] if checked else ["no cell with an output is tagged nbval-check-output"]


def figures_described(notebook: Notebook) -> list[str]:
    complaints = []
    for cell in code(notebook):
        shown = [out for out in cell.outputs if "data" in out and "scrapbook" not in out.metadata]
        if not any({"image/png", "image/svg+xml"} & out.data.keys() for out in shown):
            continue
        metadata = cell.metadata.get("mystnb", {})
        figure, alt = metadata.get("figure", {}), metadata.get("image", {}).get("alt", "")
        if len(shown) > 1:
            complaints.append(f"{len(shown)} results under one caption: {first_line(cell)}")
        if len(alt.split()) < 4:
            complaints.append(f"no alt text: {first_line(cell)}")
        if not figure.get("caption") or not figure.get("name", "").startswith("fig-"):
            complaints.append(f"no caption, or no name fig-...: {first_line(cell)}")
    pasted = re.findall(r"!\[\s*\]\(|<img(?![^>]*\balt=)", prose(notebook))
    return complaints + [f"a picture without alt text in the prose: {tag}" for tag in pasted]


def no_paths(notebook: Notebook) -> list[str]:
    texts = [cell.source for cell in notebook.cells]
    for _, output in outputs(notebook):
        texts.append(output.get("text", ""))
        texts += [value for mime, value in output.get("data", {}).items() if mime.startswith("text/")]
    complaints = [
        f"an absolute path: {text[max(0, m.start() - 20) : m.end() + 20]!r}"
        for text in texts
        for m in ABSOLUTE.finditer(text)
    ]
    return complaints + [
        f"a path in the repository: {m.group()}" for cell in code(notebook) for m in RELATIVE.finditer(cell.source)
    ]


def no_widgets(notebook: Notebook) -> list[str]:
    complaints = ["widget state in the metadata"] if "widgets" in notebook.metadata else []
    for cell, output in outputs(notebook):
        data = output.get("data", {})
        if any("widget" in mime for mime in data) or re.search(r"<(script|iframe)", data.get("text/html", "")):
            complaints.append(f"a widget or a script: {first_line(cell)}")
    return complaints


def says_what_made_it(notebook: Notebook) -> list[str]:
    record = notebook.metadata.get("stitchwork", {})
    complaints = [f"metadata['stitchwork'] lacks {field}" for field in RECORD if field not in record]
    if record.get("preset") not in PRESETS[1:]:
        complaints.append(f"executed with the preset {record.get('preset')!r}, not {PRESETS[1:]}")
    if not re.fullmatch(r"[0-9a-f]{12}", record.get("source", "")):
        complaints.append(f"source is {record.get('source')!r}")
    return complaints


def size_in_bounds(notebook: Notebook) -> list[str]:
    size, words, cells = len(nbformat.writes(notebook)), len(prose(notebook).split()), len(notebook.cells)
    complaints = [] if size < BYTES else [f"{size} bytes"]
    complaints += [] if words in WORDS else [f"{words} words"]
    return complaints + ([] if cells in CELLS else [f"{cells} cells"])


def headings_of_the_template(notebook: Notebook) -> list[str]:
    headings = [line.lower() for line in re.findall(r"^## (.+)", prose(notebook), flags=re.M)]
    return [f"no heading with {word!r} among {headings}" for word in HEADINGS if not any(word in h for h in headings)]


def glued_numbers(notebook: Notebook) -> list[str]:
    stored = {
        output.metadata["scrapbook"]["name"]
        for _, output in outputs(notebook)
        if "scrapbook" in output.get("metadata", {})
    }
    roles = re.findall(r"\{glue(?::\w*)?\}`([^`]+)`", prose(notebook))
    directives = re.findall(r"\{glue(?::\w*)?\} (\S+)", prose(notebook))
    used = {key.split(":")[0].strip() for key in [*roles, *directives]}
    complaints = [f"{key} is used, but no cell has glued it" for key in sorted(used - stored)]
    # The tables of the training comparisons are for the book, which collects them under these names.
    unused = {key for key in stored - used if not re.fullmatch(r"comparison(_\d+)?", key)}
    return complaints + [f"{key} is glued and never used" for key in sorted(unused)]


def references_resolve(notebook: Notebook) -> list[str]:
    named = {cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in code(notebook)}
    named |= set(re.findall(r"^(?:\$\$ *\(|\(|:name: *|:label: *)([\w-]+)\)?=?$", prose(notebook), flags=re.M))
    named |= set(re.findall(r"\$\$ *\(([\w-]+)\)", prose(notebook)))
    wanted = re.findall(r"\{(?:numref|eq)\}`(?:[^`<]*<)?([\w-]+)>?`", prose(notebook))
    return [f"nothing is named {name}" for name in wanted if name not in named]


CHECKS: list[Callable[[Notebook], list[str]]] = [
    starts_with_its_title,
    executed_in_order,
    no_stored_errors,
    setup_cell,
    parameters_cell,
    checked_cells,
    figures_described,
    no_paths,
    no_widgets,
    says_what_made_it,
    size_in_bounds,
    headings_of_the_template,
    glued_numbers,
    references_resolve,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter(chapter: Path, check: Callable[[Notebook], list[str]]):
    assert check(nbformat.read(chapter, as_version=4)) == []


def test_there_are_chapters():
    assert len(CHAPTERS) >= 2
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+", chapter.stem) for chapter in CHAPTERS)


def sound() -> Notebook:
    """A small notebook of which no check complains."""
    picture = new_output("display_data", {"image/png": "iVBORw0KGgo="})
    number = new_output("display_data", {"application/papermill.record/text/plain": "42"})
    number.metadata["scrapbook"] = {"name": "answer"}
    cells = [new_markdown_cell("# A title\n\n" + "word " * 2100), new_code_cell(SETUP_CELL)]
    cells.append(new_code_cell("seed = 0\npreset = stitchwork.default_preset()", metadata={"tags": ["parameters"]}))
    for heading in HEADINGS:
        cells.append(new_markdown_cell(f"## The {heading}"))
        cells.append(new_code_cell("x = 1"))
        cells.append(new_markdown_cell("Text."))
    cells[4] = new_code_cell("x", metadata={"tags": ["nbval-check-output"]}, outputs=[new_output("stream", text="1\n")])
    figure = {
        "figure": {"caption": "What it shows.", "name": "fig-one"},
        "image": {"alt": "A line that rises from left to right"},
    }
    cells[7] = new_code_cell("plot()", metadata={"mystnb": figure}, outputs=[picture])
    cells[8] = new_markdown_cell("$$\ny = x\n$$ (eq-one)\n\n{numref}`fig-one`, {eq}`eq-one`, {glue:text}`answer:.2f`")
    table = new_output("display_data", {"application/papermill.record/text/plain": "[]"})
    table.metadata["scrapbook"] = {"name": "comparison_2"}
    cells[10] = new_code_cell('glue("answer", 42, display=False)', outputs=[number, table])
    record = dict.fromkeys(RECORD, "1") | {"preset": "gpu", "source": "0123456789ab", "seconds": 1.0}
    notebook = new_notebook(cells=cells, metadata={"stitchwork": record})
    for count, cell in enumerate(code(notebook), 1):
        cell.execution_count = count
    return notebook


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_sound_notebook_passes(check):
    assert check(sound()) == []


def source(index: int, text: str) -> Callable[[Notebook], None]:
    """Replaces the source of one cell."""
    return lambda notebook: notebook.cells[index].update(source=text)


def put(index: int, output: Notebook) -> Callable[[Notebook], None]:
    """Adds an output to one cell."""
    return lambda notebook: notebook.cells[index].outputs.append(output)


BREAKAGES: list[tuple[Callable[[Notebook], list[str]], Callable[[Notebook], object]]] = [
    (starts_with_its_title, source(0, "Hello. " + "word " * 2100)),
    (starts_with_its_title, source(8, "# Another title\n\n{numref}`fig-one`, {eq}`eq-one`, {glue:text}`answer`")),
    (executed_in_order, lambda nb: nb.cells[4].update(execution_count=None)),
    (executed_in_order, lambda nb: nb.cells[4].update(execution_count=9)),
    (no_stored_errors, put(13, new_output("error", ename="ValueError", evalue="", traceback=[]))),
    (setup_cell, source(1, "import stitchwork")),
    (parameters_cell, lambda nb: nb.cells[2].metadata.update(tags=[])),
    (parameters_cell, source(2, "seed = 0\nsteps = 7")),
    (checked_cells, lambda nb: nb.cells[4].metadata.update(tags=[])),
    (checked_cells, lambda nb: nb.cells[4].update(outputs=[])),
    (figures_described, lambda nb: nb.cells[7].metadata["mystnb"]["image"].update(alt="A figure")),
    (figures_described, lambda nb: nb.cells[7].metadata["mystnb"]["figure"].pop("caption")),
    (figures_described, lambda nb: nb.cells[7].metadata["mystnb"]["figure"].update(name="one")),
    (figures_described, lambda nb: nb.cells[7].metadata.clear()),
    (figures_described, put(7, new_output("display_data", {"image/png": ""}))),
    (figures_described, put(7, new_output("execute_result", {"text/plain": "Text(0.5, 0, 'x')"}, execution_count=6))),
    (figures_described, source(11, "![](picture.png)")),
    (no_paths, source(13, 'open("/home/me/file")')),
    (no_paths, source(13, 'open(r"C:\\data")')),
    (no_paths, source(13, 'open("../data.json")')),
    (no_paths, source(13, 'open("book/_static/bench.json")')),
    (no_paths, put(13, new_output("stream", text="saved to /var/x1\n"))),
    (no_paths, put(13, new_output("execute_result", {"text/plain": "PosixPath('/home/me/x')"}))),
    (no_widgets, put(13, new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}}))),
    (
        no_widgets,
        put(13, new_output("display_data", {"text/html": "<script src='https://cdn.example/x.js'></script>"})),
    ),
    (no_widgets, lambda nb: nb.metadata.update(widgets={})),
    (says_what_made_it, lambda nb: nb.metadata.clear()),
    (says_what_made_it, lambda nb: nb.metadata["stitchwork"].pop("hardware")),
    (says_what_made_it, lambda nb: nb.metadata["stitchwork"].update(preset="smoke")),
    (says_what_made_it, lambda nb: nb.metadata["stitchwork"].update(source="dirty")),
    (size_in_bounds, source(0, "# A title")),
    (size_in_bounds, source(0, "# A title\n" + "word " * 5000)),
    (size_in_bounds, put(13, new_output("stream", text="x" * BYTES))),
    (size_in_bounds, lambda nb: nb.update(cells=nb.cells[:20])),
    (headings_of_the_template, source(27, "Arithmetic, but no heading")),
    (headings_of_the_template, source(30, "### The exercises")),
    (glued_numbers, lambda nb: nb.cells[10].update(outputs=[])),
    (glued_numbers, source(8, "$$\ny = x\n$$ (eq-one)")),
    (references_resolve, source(8, "{numref}`fig-two` {glue:text}`answer`")),
    (references_resolve, source(8, "{eq}`eq-one` {glue:text}`answer`")),
]


@pytest.mark.parametrize(("check", "breakage"), BREAKAGES, ids=lambda function: function.__name__)
def test_a_broken_notebook_is_noticed(check, breakage):
    notebook = copy.deepcopy(sound())
    breakage(notebook)
    assert check(notebook) != []


def test_every_check_is_shown_able_to_fail():
    assert {check for check, _ in BREAKAGES} == set(CHECKS)
