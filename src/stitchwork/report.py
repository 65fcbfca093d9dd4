"""What a trained segmentation network can do, on one page: a table, the curve, a good, a middling and a bad case.

>>> write_report("report", network, task.test, task.classes, history)
"""

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas
from torch import Tensor, nn
from tqdm import tqdm

from stitchwork.analysis import interval
from stitchwork.analysis.segmentation import evaluate_volumes, predict_slices, segmentation_scores
from stitchwork.figures import use_house_style
from stitchwork.figures.overlays import Case, draw_cases
from stitchwork.inference import labels_of, predict

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left } img { max-width: 100%; height: auto }
"""


def write_report(
    folder: str | Path,
    network: nn.Module,
    test: Any,
    classes: Sequence[str],
    history: pandas.DataFrame,
    title: str = "Segmentation",
    facts: dict[str, str] | None = None,
    size: int = 224,
    progress: bool = True,
) -> pandas.DataFrame:
    """Measure a network and write ``report.html``, its pictures, ``scores.csv`` and ``history.csv`` into a folder.

    Args:
        folder: made if it does not exist.
        network: in evaluation mode, on the device to compute on.
        test: pairs of an image (C, H, W) and its labels (H, W); or volumes as of :func:`~stitchwork.data.load_volumes`.
        classes: names of the classes from 1 on.
        history: of :func:`~stitchwork.training.fit`.
        title: of the page.
        facts: what else to say, such as the recipe.
        size: side in pixels of the slices that the network gets of volumes.
        progress: show a progress bar.

    Returns:
        One row for each case and class: ``case``, ``class``, ``dice``, ``hd95``.

    Raises:
        ValueError: no case has any of the classes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    in_volumes = hasattr(test, "spacings")
    if in_volumes:
        scores = evaluate_volumes(network, test, size, classes=classes, progress=progress)
    else:
        scores = _score_slices(network, test, classes, progress)
    scores.to_csv(folder / "scores.csv", index=False)
    history.to_csv(folder / "history.csv", index=False)

    use = {"good": -1, "median": None, "worst": 0}
    order = scores.groupby("case", sort=False)["dice"].mean().dropna().sort_values()
    if not len(order):
        raise ValueError(
            "no case has any of the classes, in truth or found: there is nothing to report; look at the data"
        )
    cases = []
    for word, place in use.items():
        name = order.index[len(order) // 2 if place is None else place]
        picture = _volume_case(network, test, name, size) if in_volumes else _slice_case(network, test, name)
        cases.append(Case(*picture, f"{word}: {name}\nDice {order[name]:.3f}"))
    with plt.rc_context():
        use_house_style()
        _save(_draw_curve(history), folder / "curve.png")
        _save(draw_cases(cases, classes), folder / "cases.png")
    (folder / "report.html").write_text(_page(title, facts or {}, class_table(scores), len(order)), encoding="utf-8")
    return scores


def class_table(scores: pandas.DataFrame) -> pandas.DataFrame:
    """For each class, and for the mean over the classes, Dice and HD95: the mean over the cases and its 95 % interval.

    Args:
        scores: one row for each case and class: ``case``, ``class``, ``dice``, ``hd95``.
    """
    means = scores.groupby("case")[["dice", "hd95"]].mean().reset_index().assign(**{"class": "mean"})
    both = pandas.concat([scores, means])
    rows = [
        {"class": name, "cases": part["dice"].notna().sum()}
        | {score: _mean(part[score].dropna()) for score in ("dice", "hd95")}
        for name, part in both.groupby("class", sort=False)
    ]
    return pandas.DataFrame(rows)


def _mean(values: Iterable[float]) -> str:
    values = list(values)
    if len(values) < 2:
        return f"{values[0]:.3g}" if values else "-"
    return str(interval(values))


def _score_slices(network: nn.Module, test: Any, classes: Sequence[str], progress: bool) -> pandas.DataFrame:
    tables = []
    for index in tqdm(range(len(test)), desc="report", disable=not progress):
        _, labels, found = _slice_case(network, test, index)
        tables.append(segmentation_scores(found, labels, len(classes) + 1, classes=classes).assign(case=index))
    return pandas.concat(tables)[["case", "class", "dice", "hd95"]]


def _slice_case(network: nn.Module, test: Any, index: int) -> tuple[Tensor, Tensor, Tensor]:
    image, labels = test[int(index)]  # which came out of a table, as a number of its own kind
    return image, labels, labels_of(predict(network, image)).long()


def _volume_case(network: nn.Module, volumes: Any, name: str, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The slice of a volume in which there is most to find."""
    _, image, labels, _ = volumes[list(volumes.names).index(name)]
    fullest = int((labels > 0).sum((1, 2)).argmax())
    found = predict_slices(network, image[fullest : fullest + 1], size)
    return image[fullest : fullest + 1], labels[fullest], found[0]


def _draw_curve(history: pandas.DataFrame) -> plt.Figure:
    """The loss and the mean Dice over the epochs, and which epoch was chosen."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 2.8))
    for column in ("train_loss", "valid_loss"):
        left.plot(history["epoch"], history[column], label=column.replace("_", " "))
    left.set(xlabel="epoch", ylabel="loss")
    left.legend()
    for column in [name for name in ("valid_dice", "ema_dice") if name in history]:
        right.plot(history["epoch"], history[column], label=column.replace("_", " "))
    best = getattr(history, "best_epoch", None)
    if best:
        right.axvline(best, color="#7F7F7F", linestyle=":", label=f"epoch {best}")
    right.set(xlabel="epoch", ylabel="mean Dice", ylim=(0, 1))
    right.legend()
    return figure


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _page(title: str, facts: dict[str, str], table: pandas.DataFrame, cases: int) -> str:
    head = "".join(f"<li>{html.escape(key)}: {html.escape(str(value))}</li>" for key, value in facts.items())
    mean = table.set_index("class").loc["mean"]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<ul>{head}</ul>
<p>Mean Dice over {cases} cases: <strong>{html.escape(mean["dice"])}</strong>; HD95: {html.escape(mean["hd95"])}.
In brackets the 95 % interval of the mean over the cases. Each case is in <code>scores.csv</code>.</p>
{table.to_html(index=False, border=0)}
<h2>Training</h2>
<img src="curve.png" alt="Loss and mean Dice of the validation over the epochs.">
<h2>A good, a median and the worst case</h2>
<img src="cases.png" alt="Three cases, one a row: the image, the true labels and those that the network found.">
</body></html>
"""
