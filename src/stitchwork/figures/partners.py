"""Drawings of who asks whom: maps of one pixel's partners, and a table of scores.

Every function returns a matplotlib figure and computes nothing but positions; what is drawn comes from the caller.
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from stitchwork.figures.convolution import AMOUNT
from stitchwork.figures.style import PALETTE


def draw_partners(
    maps: Mapping[str, np.ndarray], pixel: tuple[int, int], columns: int = 7, photograph: np.ndarray | None = None
) -> Figure:
    """Maps of how much every pixel counts for one pixel, which is marked; white is nothing at all.

    Args:
        maps: a title and a map (H, W) of numbers that are not negative each; every map has its own scale.
        pixel: row and column of the pixel that asks.
        columns: panels in a row.
        photograph: (3, H', W') in [0, 1], drawn first, at the size of the maps.
    """
    count = len(maps) + (photograph is not None)
    height, width = np.shape(next(iter(maps.values())))
    lines = -(-count // columns)
    side = 7.4 / columns * height / width
    figure, axes = plt.subplots(lines, columns, figsize=(7.4, (side + 0.42) * lines), squeeze=False)
    panels = iter(axes.flat)
    if photograph is not None:
        ax = next(panels)
        ax.imshow(np.asarray(photograph).transpose(1, 2, 0), extent=(-0.5, width - 0.5, height - 0.5, -0.5))
        ax.set_title("photograph", fontsize=9)
        ax.plot(*pixel[::-1], marker="s", color=PALETTE["vermilion"], markersize=5)
    for title, values in maps.items():
        ax, values = next(panels), np.asarray(values, dtype=float)
        ax.imshow(np.ma.masked_equal(values / max(values.max(), 1e-12), 0) ** 0.5, vmin=0, vmax=1, cmap=AMOUNT)
        ax.plot(*pixel[::-1], marker="s", color=PALETTE["vermilion"], markersize=3.5)
        ax.set_title(title, fontsize=9)
    for ax in axes.flat[:count]:
        ax.set(xticks=[], yticks=[])
        ax.spines[["top", "right"]].set_visible(True)
    for ax in panels:
        ax.axis("off")
    return figure


def draw_scores(scores: Mapping[str, Mapping[str, float]], label: str) -> Figure:
    """A table of errors between 0 and 1 as colours, dark for a low error, with the numbers written in.

    Args:
        scores: for each row its columns, by name; the same columns in every row.
        label: what the numbers are.
    """
    columns = list(next(iter(scores.values())))
    values = np.array([[line[name] for name in columns] for line in scores.values()])
    figure, ax = plt.subplots(figsize=(6.4, 0.31 * len(scores) + 1.0))
    ax.imshow(1 - values, cmap=AMOUNT, vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.6 else "black", fontsize=10)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(scores)), list(scores))
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(label)
    return figure
