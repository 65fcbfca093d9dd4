"""The drawings of the chapter on branches: what runs side by side, what looks at it, and how it comes together.

Every function returns a matplotlib figure and computes nothing but positions.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from stitchwork.figures.style import INK, PALETTE

STYLE = "round,pad=0,rounding_size=0.12"


def _box(ax: Axes, left: float, middle: float, width: float, height: float, label: str, colour: str) -> None:
    """A box with round corners and a word in it."""
    face = FancyBboxPatch((left, middle - height / 2), width, height, STYLE, facecolor=colour, edgecolor="none")
    ax.add_patch(face)
    ax.text(left + width / 2, middle, label, ha="center", va="center", fontsize=8.2, linespacing=1.05)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0})


def draw_wirings(wirings: Mapping[str, tuple[Sequence[str], str | None, str]]) -> Figure:
    """Modules of several branches, side by side: the branches, what chooses among them, how they are joined.

    Args:
        wirings: for each module the labels of its branches, of what chooses (``None``: nothing does), and of the join.
    """
    rows = -(-len(wirings) // 2)
    tallest = max(len(branches) for branches, _, _ in wirings.values())
    figure, axes = plt.subplots(rows, 2, figsize=(7.6, (0.3 * tallest + 0.75) * rows), squeeze=False)
    for ax, (title, (branches, chooser, join)) in zip(axes.flat, wirings.items()):
        middle = (len(branches) - 1) / 2
        ax.text(0.2, middle, "x", ha="center", va="center", fontsize=11, style="italic")
        for row, label in enumerate(branches):
            _box(ax, 1.1, row, 3.5, 0.76, label, "#CFE3F1")
            _arrow(ax, (0.4, middle), (1.1, row))
            _arrow(ax, (4.6, row), (6.2, middle), "#8A8A8A")
        _box(ax, 6.2, middle, 2.1, 0.95, join, "#E4E4E4")
        _arrow(ax, (8.3, middle), (8.9, middle))
        ax.text(9.15, middle, "y", ha="center", va="center", fontsize=11, style="italic")
        if chooser is not None:
            below = len(branches) + 0.35
            _box(ax, 1.1, below, 3.5, 0.95, chooser, "#F6D6C0")
            _arrow(ax, (4.6, below), (7.25, middle + 0.5), PALETTE["vermilion"])
        ax.set(xlim=(-0.1, 9.5), ylim=(tallest + 1.0, -0.65))
        ax.set_title(title, fontsize=10.5, fontweight="bold", loc="left")
    for ax in axes.flat:
        ax.axis("off")
    return figure
