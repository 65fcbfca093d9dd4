"""The page of a trained network: numbers as the evaluation has them, and the good, the median and the worst case."""

import math
import re

import pandas
import pytest
import torch
from PIL import Image

from stitchwork import figures
from stitchwork.analysis import interval
from stitchwork.analysis.segmentation import evaluate_volumes
from stitchwork.layers import Segmenter
from stitchwork.report import class_table, write_report
from stitchwork.training import History

HISTORY = [
    {"epoch": i, "step": i, "lr": 0.1, "train_loss": 1 / i, "valid_loss": 1 / i, "valid_dice": 0.2 * i, "seconds": 1.0}
    for i in (1, 2, 3)
]


class Rounded(Segmenter):
    """Says class k where the grey value is k: right where the image is its labels."""

    def __init__(self):
        super().__init__(1, 1)
        self.num_classes = 3

    def forward(self, x):
        return torch.cat([-(x - k).abs() for k in range(3)], 1)


def slices(spoilt=(0, 8, 2, 4)):
    """Images that are their own labels, but for some rows that say another class."""
    pairs = []
    for rows in spoilt:
        labels = torch.zeros(16, 16, dtype=torch.long)
        labels[2:9, 2:9], labels[9:15, 4:12] = 1, 2
        image = labels.float()[None].clone()
        image[0, :rows] = (image[0, :rows] + 1) % 3
        pairs.append((image, labels))
    return pairs


class Scans(list):
    """Volumes as the loader gives them."""

    spacings = None

    @property
    def names(self):
        """Their names."""
        return [name for name, *_ in self]


def report(folder, test, **options):
    history = History(HISTORY)
    history.best_epoch = 3
    options = {"facts": {"network": "a <b> & c"}, "size": None, "progress": False} | options
    return write_report(folder, Rounded().eval(), test, ["liver", "left kidney"], history, "A title", **options)


def test_a_report_on_slices(tmp_path, monkeypatch):
    drawn = []
    real = figures.overlays.draw_cases
    monkeypatch.setattr(
        "stitchwork.report.draw_cases", lambda cases, classes: drawn.append(cases) or real(cases, classes)
    )
    scores = report(tmp_path / "new" / "folder", slices())
    folder = tmp_path / "new" / "folder"
    assert {path.name for path in folder.iterdir()} == {
        "report.html",
        "curve.png",
        "cases.png",
        "scores.csv",
        "history.csv",
    }
    assert list(scores) == ["case", "class", "dice", "hd95"] and len(scores) == 4 * 2
    perfect = scores[scores["case"] == 0]
    assert perfect["dice"].tolist() == [1, 1] and perfect["hd95"].tolist() == [0, 0]
    good, median, worst = drawn[0]
    assert good.title.startswith("good: 0\nDice 1.000") and worst.title.startswith("worst: 1\n")
    assert median.title.split("\n")[0] in ("median: 2", "median: 3")
    assert torch.equal(good.found, good.labels) and not torch.equal(worst.found, worst.labels)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "a &lt;b&gt; &amp; c" in page and "left kidney" in page and "over 4 cases" in page
    assert str(interval(scores.groupby("case")["dice"].mean())) in page
    for picture in re.findall(r'src="(.*?)" alt="..+?"', page):
        with Image.open(folder / picture) as image:
            assert image.size[0] > 300
    assert len(pandas.read_csv(folder / "history.csv")) == 3


def test_a_report_on_volumes(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("stitchwork.report.draw_cases", lambda cases, classes: drawn.append(cases) or figures_stub())
    scans = Scans()
    for name, spoilt in {"a": 0, "b": 9, "c": 3}.items():
        (image, labels), nothing = slices([spoilt])[0], torch.zeros(16, 16)
        image, labels = torch.stack([nothing, image[0]]), torch.stack([nothing.long(), labels])
        scans.append((name, image, labels, (2.0, 1.0, 1.0)))
    scores = report(tmp_path, scans)
    expected = evaluate_volumes(Rounded().eval(), scans, None, classes=["liver", "left kidney"], progress=False)
    pandas.testing.assert_frame_equal(scores, expected)
    assert [case.title.split("\n")[0] for case in drawn[0]] == ["good: a", "median: c", "worst: b"]
    assert all((case.labels > 0).any() for case in drawn[0]), "the fullest slice, not the first"


def figures_stub():
    import matplotlib.pyplot as plt

    return plt.figure()


def test_the_table_leaves_out_what_is_no_number():
    scores = pandas.DataFrame(
        [(0, "a", 0.5, 2.0), (0, "b", math.nan, math.nan), (1, "a", 0.7, 4.0), (1, "b", 1.0, 0.0)],
        columns=["case", "class", "dice", "hd95"],
    )
    table = class_table(scores).set_index("class")
    assert table.index.tolist() == ["a", "b", "mean"] and table["cases"].tolist() == [2, 1, 2]
    assert table.loc["a", "dice"] == str(interval([0.5, 0.7])) and table.loc["a", "hd95"] == str(interval([2, 4]))
    assert table.loc["b", "dice"] == "1" and table.loc["b", "hd95"] == "0"
    assert table.loc["mean", "dice"] == str(interval([0.5, 0.85]))


def test_a_case_without_a_single_class_is_no_worst_case(tmp_path):
    """There is nothing to be right or wrong about."""
    empty = (torch.zeros(1, 16, 16), torch.zeros(16, 16, dtype=torch.long))
    scores = report(tmp_path, [empty, *slices()])
    assert scores[scores["case"] == 0]["dice"].isna().all()
    assert "over 4 cases" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_nothing_to_report_on(tmp_path):
    with pytest.raises(ValueError, match="no case has any of the classes"):
        report(tmp_path, [(torch.zeros(1, 16, 16), torch.zeros(16, 16, dtype=torch.long))])
