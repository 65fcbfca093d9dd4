"""The training comparisons: gathered from executed notebooks, refused where they are malformed, and up to date."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from typer.testing import CliRunner

from stitchwork.cli import app
from stitchwork.comparisons import COLUMNS, collect, comparisons

ROOT = Path(__file__).resolve().parents[1]
ROW = {"task": "stripes", "block": "SE", "parameters": 8, "mean": 0.5, "low": 0.4, "high": 0.6, "seeds": 5}
MADE_BY = {"preset": "cpu", "hardware": "a", "python": "3", "torch": "2", "stitchwork": "0", "source": "f"}


def glued(name, value):
    """What ``glue(name, value, display=False)`` leaves in a notebook."""
    metadata = {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}}
    return v4.new_output("display_data", {"application/papermill.record/text/plain": repr(value)}, metadata=metadata)


def write(path, *outputs, made_by=MADE_BY):
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), v4.new_code_cell("", outputs=list(outputs))])
    if made_by:
        notebook.metadata["stitchwork"] = made_by | {"seconds": 1.0}
    nbformat.write(notebook, path)
    return path


def test_rows_of_all_comparisons_in_order(tmp_path):
    second = ROW | {"block": "ECA"}
    path = write(
        tmp_path / "a.ipynb", glued("other", 3.0), glued("comparison", [ROW]), glued("comparison_2", [second, ROW])
    )
    assert comparisons(path) == [ROW, second, ROW]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{**ROW, "extra": 1}], "a row needs task, block"),
        ([{"task": "stripes"}], "a row needs task, block"),
        (["SE"], "a row needs task, block"),
        ([{**ROW, "mean": 0.7}], "the mean is not in its interval"),
        ([{**ROW, "mean": float("nan")}], "is no list of rows"),
    ],
)
def test_what_is_malformed_is_refused_with_the_place(tmp_path, value, message):
    path = write(tmp_path / "a.ipynb", glued("comparison", value))
    with pytest.raises(ValueError, match=rf"a\.ipynb, comparison: .*{message}"):
        comparisons(path)


def test_collect_leaves_out_what_compares_nothing(tmp_path):
    paths = [write(tmp_path / "b.ipynb", glued("comparison", [ROW])), write(tmp_path / "a.ipynb")]
    output = tmp_path / "new" / "c.json"
    record = collect(paths, output)
    assert record == {"b": {"made_by": MADE_BY, "rows": [ROW]}} == json.loads(output.read_text())


def test_collect_wants_to_know_what_made_them(tmp_path):
    path = write(tmp_path / "a.ipynb", glued("comparison", [ROW]), made_by=None)
    with pytest.raises(ValueError, match=r"a\.ipynb does not say its preset, .*stitchwork run"):
        collect([path], tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()


def test_command(tmp_path):
    path = write(tmp_path / "a.ipynb", glued("comparison", [ROW]))
    result = CliRunner().invoke(app, ["comparisons", str(path), "--output", str(tmp_path / "c.json")])
    assert result.exit_code == 0 and "a  1 rows" in result.stdout
    bad = write(tmp_path / "b.ipynb", glued("comparison", ["SE"]))
    assert CliRunner().invoke(app, ["comparisons", str(bad), "--output", str(tmp_path / "d.json")]).exit_code == 2


def test_the_books_data_file_is_what_the_chapters_hold(tmp_path):
    stored = json.loads((ROOT / "book" / "data" / "comparisons.json").read_text(encoding="utf-8"))
    assert stored == collect((ROOT / "notebooks").glob("*.ipynb"), tmp_path / "c.json"), "run `make run`"


def test_every_chapter_but_the_first_compares_over_several_seeds():
    stored = json.loads((ROOT / "book" / "data" / "comparisons.json").read_text(encoding="utf-8"))
    chapters = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} - {"01_depthwise_separable_convolution"}
    assert set(stored) >= chapters
    for name, found in stored.items():
        for row in found["rows"]:
            least = 3 if row["task"] == "phantom, parts of EViT-UNet" else 5  # half a minute each, on one thread
            assert tuple(row) == COLUMNS and row["seeds"] >= least, (name, row)
