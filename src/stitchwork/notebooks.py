"""Execute chapters, and store the outputs in the very file that is published.

papermill runs a copy in an empty folder with the kernel of this interpreter. When every cell has succeeded, the outputs
are put into the source notebook: its cells, their order and its metadata stay as they are, so the file that is
published is the file that CI tests. What made the outputs is recorded in ``metadata["stitchwork"]``.
"""

import difflib
import hashlib
import json
import os
import re
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbformat import NotebookNode

from stitchwork.presets import PRESETS
from stitchwork.provenance import environment, source_hash

RECORD = "stitchwork"
INJECTED = "injected-parameters"
WIDGET = "application/vnd.jupyter.widget-view+json"
KERNEL = {
    "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"],
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook.

    Attributes:
        path: the source notebook.
        status: ``"ok"``, ``"failed"`` or ``"skipped"`` (up to date).
        seconds: how long it ran.
        error: first line of the error, if it failed.
    """

    path: Path
    status: str
    seconds: float = 0.0
    error: str = ""


def run_notebooks(
    paths: Sequence[str | os.PathLike],
    preset: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
    output_dir: str | os.PathLike | None = None,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Execute notebooks one after the other; a failure does not stop the others.

    A notebook whose code, preset, parameters and package source are those of its stored outputs is skipped. One that
    fails is left as it was, and the failed run is written beside it (or into ``output_dir``) as
    ``NAME.failed.ipynb``, to be looked at.

    Args:
        paths: the notebooks.
        preset: ``"smoke"``, ``"cpu"`` or ``"gpu"``: the value of ``STITCHWORK_PRESET`` in the kernel.
        parameters: values for names that are assigned in the cell tagged ``parameters``.
        force: execute also what is up to date.
        output_dir: where the executed notebooks go; without it they replace their sources.
        report: called with each outcome as soon as it is known.

    Returns:
        One outcome for each notebook, in order.

    Raises:
        ValueError: an unknown preset or parameter, or no notebook at all: nothing has been executed.
        FileNotFoundError: a path where there is no file: nothing has been executed.
    """
    parameters = dict(parameters or {})
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; take one of {', '.join(PRESETS)}")
    for path in map(Path, paths):
        check_parameters(path, parameters)
    outcomes = []
    for path in map(Path, paths):
        destination = Path(output_dir) / path.name if output_dir else path
        outcomes.append(run_notebook(path, destination, preset, parameters, force))
        report(outcomes[-1])
    return outcomes


def check_parameters(path: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that the notebook does not have, and files that are no notebooks.

    Raises:
        ValueError: names the unknown parameter and those that there are, nearest first.
        FileNotFoundError: there is no such file.
    """
    read(path)
    known = list(papermill.inspect_notebook(str(path)))
    for name in parameters:
        if name == "preset":
            raise ValueError("the preset is not set as a parameter; use --preset")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]!r}? " if near else ""
            have = f"it has {', '.join(known)}" if known else "it has no cell tagged parameters"
            raise ValueError(f"{path.name} has no parameter {name!r}; {advice}{have}")


def run_notebook(path: Path, destination: Path, preset: str, parameters: Mapping[str, Any], force: bool) -> Outcome:
    """Execute one notebook unless its destination is up to date."""
    source = read(path)
    record = {"preset": preset, "parameters": dict(parameters), "source": source_hash(), "code": code_hash(source)}
    if not force and is_up_to_date(destination, source, record):
        return Outcome(path, "skipped")

    destination.parent.mkdir(parents=True, exist_ok=True)
    failed = destination.with_name(f"{destination.stem}.failed.ipynb")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder, "executed.ipynb")
        empty = Path(folder, "empty")
        empty.mkdir()
        try:
            with kernel_of_this_interpreter(Path(folder)), variables(STITCHWORK_PRESET=preset):
                papermill.execute_notebook(
                    str(path.resolve()),
                    str(executed),
                    dict(parameters),
                    kernel_name="python3",
                    cwd=str(empty),
                    progress_bar=False,
                    coalesce_streams=True,
                )
        except Exception as error:  # the kernel, papermill and nbclient each have their own; all mean that it failed
            seconds = time.monotonic() - start
            message = first_line(error)
            if executed.exists():
                result = with_outputs(source, read(executed), folder)
                nbformat.write(result, failed)
                counts = [
                    c.execution_count
                    for c in result.cells
                    if any(o.output_type == "error" for o in c.get("outputs", []))
                ]
                message = f"cell [{counts[0]}]: {message}" if counts else message
            return Outcome(path, "failed", seconds, message)
        seconds = time.monotonic() - start
        result = with_outputs(source, read(executed), folder)
    result.metadata[RECORD] = environment() | record | {"seconds": round(seconds, 1)}
    unfinished = destination.with_name(f".{destination.name}.part")
    nbformat.write(result, unfinished)
    os.replace(unfinished, destination)
    failed.unlink(missing_ok=True)
    return Outcome(path, "ok", seconds)


def read(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a notebook.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no notebook {path}")
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} is not a notebook: {first_line(error)}") from error


def code_hash(notebook: NotebookNode) -> str:
    """Hash of the code cells' sources: the first 12 hex digits of a sha256."""
    sources = [cell.source for cell in own_cells(notebook) if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:12]


def own_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells without the ones that papermill has put in."""
    return [
        c
        for c in notebook.cells
        if not any(INJECTED in tag or "papermill" in tag for tag in c.metadata.get("tags", []))
    ]


def is_up_to_date(destination: Path, source: NotebookNode, record: Mapping[str, Any]) -> bool:
    """Whether the stored outputs were made by this code, with this preset, these parameters and this package."""
    if not destination.is_file():
        return False
    stored = read(destination)
    same_text = [c.source for c in stored.cells] == [c.source for c in source.cells]
    found = stored.metadata.get(RECORD, {})
    return same_text and all(found.get(key) == value for key, value in record.items())


def with_outputs(source: NotebookNode, executed: NotebookNode, folder: str) -> NotebookNode:
    """The source notebook with the outputs of its executed copy, counted 1 to n, and free of this machine's paths.

    Progress bars and warnings (the error stream) belong to a run and not to the page: they are left out.
    """
    result = nbformat.from_dict(source)
    result.cells = own_cells(result)
    result.metadata.pop("widgets", None)
    result.metadata.pop("papermill", None)
    count = 0
    for cell, done in zip(result.cells, own_cells(executed), strict=True):
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        cell.execution_count = None
        cell.outputs = [
            without_paths(output, folder)
            for output in done.outputs
            if output.get("name") != "stderr" and WIDGET not in output.get("data", {})
        ]
        if done.execution_count is not None:
            count += 1
            cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = cell.execution_count
    return result


def without_paths(output: NotebookNode, folder: str) -> NotebookNode:
    """Cut the folders of this machine off the paths in an output's text (warnings and tracebacks have them)."""
    roots = {folder, sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), sys.prefix, str(Path.home())}
    roots |= {str(Path(__file__).parents[1]), os.getcwd()}
    roots |= {os.path.realpath(root) for root in roots}
    places = [re.escape(root.rstrip(os.sep) + os.sep) for root in sorted(roots, key=len, reverse=True) if len(root) > 1]
    kernel_cell = re.escape(os.path.realpath(tempfile.gettempdir()) + os.sep) + r"ipykernel_\d+[/\\]+\d+\.py"
    pattern = re.compile(rf"(?<![\w.-])(?:{'|'.join([kernel_cell, *places])})")

    def clean(value):
        if isinstance(value, str):
            return pattern.sub(lambda found: "cell" if "ipykernel_" in found.group() else "", value)
        if isinstance(value, list):
            return [clean(item) for item in value]
        if isinstance(value, dict):
            return NotebookNode(
                {k: v if k.startswith("image/") and k != "image/svg+xml" else clean(v) for k, v in value.items()}
            )
        return value

    return clean(output)


def first_line(error: BaseException) -> str:
    """One line for the summary: the kind of error, and the first line of its message."""
    if isinstance(error, papermill.PapermillExecutionError):
        text = f"{error.ename}: {error.evalue}"
    else:
        text = f"{type(error).__name__}: {error}"
    return next(line.strip() for line in text.splitlines() if line.strip())


@contextmanager
def kernel_of_this_interpreter(folder: Path) -> Iterator[None]:
    """For a while, ``python3`` means this interpreter, whatever kernels are installed for the user."""
    spec = folder / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps(KERNEL), encoding="utf-8")
    before = os.environ.get("JUPYTER_PATH")
    with variables(JUPYTER_PATH=os.pathsep.join(filter(None, [str(folder / "jupyter"), before]))):
        yield


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Set environment variables for a while; the kernel inherits them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
