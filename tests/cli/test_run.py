"""`stitchwork run`: real kernels where the kernel matters, a stand-in for papermill where only the files do."""

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from stitchwork import notebooks
from stitchwork.cli import app, parse_parameter
from stitchwork.notebooks import run_notebooks

LINK = f"https://example.org{Path.home().as_posix()}/a"  # no path, though it looks like one of this machine
WIDGET = "application/vnd.jupyter.widget-view+json"


def write(path, *sources):
    """A notebook with a title, a parameters cell and the given code."""
    parameters = nbformat.v4.new_code_cell("seed = 0\nsteps = 10  # how many", metadata={"tags": ["parameters"]})
    cells = [nbformat.v4.new_markdown_cell("# Title"), parameters, *map(nbformat.v4.new_code_cell, sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def hash_of(text):
    return hashlib.sha256(text.encode()).hexdigest()


def run(*arguments):
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


def one_line(result, code):
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """One run of a notebook that fails, and after it one that succeeds."""
    folder = tmp_path_factory.mktemp("run")
    bad = write(folder / "bad.ipynb", "print('so far')", "raise KeyError('lost')", "print('never')")
    good = write(
        folder / "good.ipynb",
        "import os, sys, warnings\nprint(os.environ['STITCHWORK_PRESET'], os.listdir('.'), seed, steps)",
        f"warnings.warn('look here'); print(os.getcwd(), warnings.__file__, {LINK!r})",
        f"import hashlib; hashlib.sha256(sys.executable.encode()).hexdigest() == {hash_of(sys.executable)!r}",
    )
    before = {path: path.read_bytes() for path in (bad, good)}
    return run(bad, good, "--preset", "cpu", "-p", "seed=3"), bad, good, before


def outputs(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    return ["".join(o.get("text", "") or str(o.get("data", "")) for o in cell.outputs) for cell in cells]


def test_failure_goes_on_and_sums_up(executed):
    result, *_ = executed
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.split()[:2] == ["bad.ipynb", "failed"] and first.endswith("cell [3]: KeyError: 'lost'")
    assert second.split()[:2] == ["good.ipynb", "ok"]
    assert "1 of 2 notebooks failed" in result.stderr
    assert "Traceback" not in result.output


def test_failed_notebook_is_left_as_it_was(executed):
    _, bad, good, before = executed
    assert bad.read_bytes() == before[bad]
    failed = nbformat.read(bad.with_name("bad.failed.ipynb"), 4)
    assert [cell.get("execution_count") for cell in failed.cells[1:]] == [1, 2, 3, None]
    assert failed.cells[3].outputs[0].ename == "KeyError"
    assert not good.with_name("good.failed.ipynb").exists()


def test_published_file_is_source_plus_outputs(executed):
    _, _, good, before = executed
    source, result = nbformat.reads(before[good].decode(), 4), nbformat.read(good, 4)
    assert [(c.id, c.source, c.metadata) for c in result.cells] == [(c.id, c.source, c.metadata) for c in source.cells]
    assert [c.execution_count for c in result.cells if c.cell_type == "code"] == [1, 2, 3, 4]
    assert result.cells[-1].outputs[0].execution_count == 4
    assert "injected" not in good.read_text() and "papermill" not in good.read_text()
    assert {k: v for k, v in result.metadata.items() if k != "stitchwork"} == source.metadata


def test_kernel_has_preset_parameters_and_an_empty_folder(executed):
    assert outputs(executed[2])[1] == "cpu [] 3 10\n"
    assert "True" in outputs(executed[2])[3]


def test_no_path_of_this_machine_is_stored(executed):
    _, _, good, _ = executed
    text = outputs(good)[2]
    assert "warnings.py" in text and LINK in text
    for path in (Path.home(), sys.prefix, sys.base_prefix, good.parent, Path(tempfile.gettempdir())):
        assert f"{path}/" not in good.read_text().replace(LINK, "")


def test_error_stream_is_not_stored(executed):
    assert "look here" not in "".join(outputs(executed[2]))


def test_record_says_what_made_the_outputs(executed):
    record = nbformat.read(executed[2], 4).metadata["stitchwork"]
    assert record["preset"] == "cpu" and record["parameters"] == {"seed": 3} and record["seconds"] > 0
    assert {"hardware", "python", "torch", "stitchwork", "source", "code"} < set(record)


def test_up_to_date_is_skipped(executed):
    _, _, good, _ = executed
    stored = good.read_bytes()
    result = run(good, "--preset", "cpu", "-p", "seed=3")
    assert result.exit_code == 0 and result.stdout.split()[:2] == ["good.ipynb", "skipped"]
    assert good.read_bytes() == stored


@pytest.fixture
def papermill(monkeypatch):
    """Stands in for the execution: every code cell prints; the list has the parameters of each call."""
    calls = []

    def execute(source, target, parameters, **kwargs):
        calls.append(parameters)
        notebook = nbformat.read(source, 4)
        for count, cell in enumerate(notebook.cells[1:], 1):
            cell.execution_count = count
            cell.outputs = [nbformat.v4.new_output("stream", text="done")]
        nbformat.write(notebook, target)

    monkeypatch.setattr(notebooks.papermill, "execute_notebook", execute)
    return calls


def test_what_makes_a_notebook_out_of_date(papermill, tmp_path, monkeypatch):
    path = write(tmp_path / "a.ipynb", "1")

    def status(preset="smoke", parameters=None, **options):
        return run_notebooks([path], preset, parameters, **options)[0].status

    assert status() == "ok"
    assert status() == "skipped"
    assert status(force=True) == "ok"
    assert status("cpu") == "ok"
    assert status("cpu", {"seed": 1}) == "ok"
    assert status("cpu", {"seed": 1}) == "skipped"
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source = "# Another title"
    nbformat.write(notebook, path)
    assert status("cpu", {"seed": 1}) == "skipped"
    notebook.cells[2].source = "2"
    nbformat.write(notebook, path)
    assert status("cpu", {"seed": 1}) == "ok"
    monkeypatch.setattr(notebooks, "source_hash", lambda: "another")
    assert status("cpu", {"seed": 1}) == "ok"
    assert len(papermill) == 6


def test_output_dir_leaves_the_source_alone(papermill, tmp_path):
    path, folder = write(tmp_path / "a.ipynb", "1"), tmp_path / "new" / "folder"
    before = path.read_bytes()
    assert run(path, "--preset", "smoke", "--output-dir", folder).exit_code == 0
    assert path.read_bytes() == before and outputs(folder / "a.ipynb") == ["done", "done"]
    assert run(path, "--preset", "smoke", "--output-dir", folder).stdout.split()[1] == "skipped"
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source = "# Another title"
    nbformat.write(notebook, path)
    assert run(path, "--preset", "smoke", "--output-dir", folder).stdout.split()[1] == "ok"
    assert nbformat.read(folder / "a.ipynb", 4).cells[0].source == "# Another title"


def test_widgets_are_not_stored(monkeypatch, tmp_path):
    path = write(tmp_path / "a.ipynb", "1")
    notebook = nbformat.read(path, 4)
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    nbformat.write(notebook, path)

    def execute(source, target, parameters, **kwargs):
        notebook = nbformat.read(source, 4)
        notebook.cells[2].outputs = [
            nbformat.v4.new_output("display_data", {WIDGET: {"model_id": "1"}, "text/plain": "bar"}),
            nbformat.v4.new_output("display_data", {"text/plain": "kept"}),
        ]
        nbformat.write(notebook, target)

    monkeypatch.setattr(notebooks.papermill, "execute_notebook", execute)
    assert run(path, "--preset", "smoke").exit_code == 0
    assert "widget" not in path.read_text() and "kept" in path.read_text()


def test_interruption_leaves_the_original(monkeypatch, tmp_path):
    path = write(tmp_path / "a.ipynb", "1")
    before = path.read_bytes()

    def execute(source, target, parameters, **kwargs):
        shutil.copy(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(notebooks.papermill, "execute_notebook", execute)
    with pytest.raises(KeyboardInterrupt):
        run_notebooks([path], "smoke")
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.ipynb"]


def test_unknown_parameter_is_refused_before_anything_runs(papermill, tmp_path):
    fine, path = write(tmp_path / "fine.ipynb", "1"), write(tmp_path / "a.ipynb", "1")
    notebook = nbformat.read(path, 4)
    notebook.cells[1].source = "step = 1"
    nbformat.write(notebook, path)
    message = one_line(run(fine, path, "--preset", "smoke", "-p", "steps=3"), 2)
    assert "a.ipynb has no parameter 'steps'; did you mean 'step'? it has step" in message
    assert papermill == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.ipynb", "--preset", "fast"], ["'fast'", "smoke, cpu, gpu"]),
        (["a.ipynb", "-p", "preset=cpu"], ["--preset"]),
        (["a.ipynb", "-p", "seed"], ["NAME=VALUE", "'seed'"]),
        (["missing.ipynb"], ["no notebook", "missing.ipynb"]),
        (["text.ipynb"], ["text.ipynb is not a notebook"]),
        (["list.ipynb"], ["list.ipynb is not a notebook"]),
    ],
)
def test_bad_requests_are_told_in_one_line(papermill, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STITCHWORK_PRESET", raising=False)
    write(tmp_path / "a.ipynb", "1")
    Path("text.ipynb").write_text("print(1)")
    Path("list.ipynb").write_text(json.dumps([1, 2]))
    message = one_line(run(*arguments), 2)
    assert all(word in message for word in words), message
    assert papermill == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=3", 3), ("a=0.5", 0.5), ("a=None", None), ("a=cpu", "cpu"), ("a=b=c", "b=c"), ("a=[1]", [1])],
)
def test_parameters_are_python_literals_or_strings(text, value):
    assert parse_parameter(text) == ("a", value)
