"""The drawings of windows: regions of a map, the table of offsets, pairs of pixels, and curves side by side.

Every function returns a matplotlib figure and computes nothing but positions; what is drawn comes from the caller.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stitchwork.figures.style import INK, PALETTE


def _tint(colour: str, share: float) -> tuple[float, ...]:
    """A colour mixed with ``share`` of white."""
    return tuple(share + (1 - share) * part for part in to_rgb(colour))


def _cut(ax: Axes, size: tuple[int, int], window: int, first: int = 0) -> None:
    """Dark lines between windows, of which the first full one begins at ``first``; pixel centres are whole numbers."""
    for length, line in zip(size, (ax.axhline, ax.axvline)):
        for place in range(first or window, length, window):
            line(place - 0.5, color=INK, linewidth=1.6)


def draw_regions(panels: Mapping[str, tuple[np.ndarray, int]], window: int) -> Figure:
    """Maps whose pixels bear the letter of the region that they belong to; dark lines cut the map into windows.

    Args:
        panels: a title, the regions (H, W) as whole numbers, which have the same colour in all panels, and the pixel
            at which the first full window begins.
        window: side of a window.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(7.4, 7.4 / len(panels) + 0.3), squeeze=False)
    names = sorted({int(label) for labels, _ in panels.values() for label in np.unique(labels)})
    tints = [_tint(colour, share) for share in (0.55, 0.82) for colour in PALETTE.values()]
    for ax, (title, (labels, first)) in zip(axes[0], panels.items()):
        numbers = np.searchsorted(names, labels)
        ax.imshow(numbers, cmap=ListedColormap(tints), vmin=-0.5, vmax=len(tints) - 0.5)
        for (y, x), number in np.ndenumerate(numbers):
            ax.text(x, y, chr(ord("A") + number), ha="center", va="center", fontsize=7.5)
        _cut(ax, labels.shape, window, first)
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[])
        ax.spines[["top", "right"]].set_visible(True)
    return figure


def draw_offsets(table: np.ndarray, biases: Mapping[tuple[int, int], np.ndarray]) -> Figure:
    """The table of a relative position bias, and what it gives the pixels of a window for some queries.

    Args:
        table: one number for each offset from key to query, (2 M - 1, 2 M - 1).
        biases: row and column of a query, and the bias (M, M) of every key.
    """
    figure, axes = plt.subplots(1, 1 + len(biases), figsize=(7.4, 2.5), width_ratios=[1.85, *[1] * len(biases)])
    top = np.abs(table).max()
    look = {"cmap": "RdBu", "vmin": -top, "vmax": top}
    axes[0].imshow(table, **look)
    axes[0].set_title("the table", fontsize=10)
    axes[0].spines[["top", "right"]].set_visible(True)
    for ax, ((y, x), bias), colour in zip(axes[1:], biases.items(), PALETTE.values()):
        side = len(bias)
        axes[0].add_patch(Rectangle((x - 0.5, y - 0.5), side, side, fill=False, edgecolor=colour, linewidth=2.4))
        ax.imshow(bias, **look)
        ax.plot(x, y, marker="s", color=colour, markersize=6)
        ax.set_title(f"query ({y}, {x})", fontsize=10)
        for spine in ax.spines.values():
            spine.set(visible=True, edgecolor=colour, linewidth=2.4)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return figure


def draw_pairs(panels: Mapping[str, Sequence[tuple[int, int, int, int]]], size: int, window: int) -> Figure:
    """Pairs of pixels on maps that are cut into windows; a pair that a border parts is dashed.

    Args:
        panels: a title, and for each pair the row and column of one pixel and the row and column of the other.
        size: side of the maps.
        window: side of a window.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(7.4, 7.4 / len(panels) + 0.3), squeeze=False)
    for ax, (title, pairs) in zip(axes[0], panels.items()):
        _cut(ax, (size, size), window)
        for (y, x, y2, x2), colour in zip(pairs, PALETTE.values()):
            together = y // window == y2 // window and x // window == x2 // window
            style = {"linestyle": "-" if together else "--", "linewidth": 1.6, "color": colour}
            ax.plot([x, x2], [y, y2], marker="s", markersize=7, **style)
        ax.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
        ax.set(xticks=np.arange(size + 1) - 0.5, yticks=np.arange(size + 1) - 0.5, xticklabels=[], yticklabels=[])
        ax.grid(color="#E2E2E2", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.tick_params(length=0)
        ax.spines[["top", "right"]].set_visible(True)
        ax.set_title(title, fontsize=10)
    return figure


def draw_curve_panels(
    x: Sequence[float],
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    limits: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    limit_label: str,
    columns: int = 4,
) -> Figure:
    """One small panel for each curve with its interval, and a dashed line for what is possible at all.

    Args:
        x: places on the horizontal axis.
        curves: a title, and means, lower and upper ends at each place.
        limits: a title, and the best possible values.
        xlabel: what x is.
        ylabel: what was measured.
        limit_label: what the dashed line is.
        columns: panels in a row.
    """
    lines = -(-len(curves) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(7.4, 1.75 * lines + 0.5), sharex=True, sharey=True, squeeze=False
    )
    for ax, (title, (mean, low, high)), colour in zip(axes.flat, curves.items(), [*PALETTE.values()] * lines):
        ax.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
        ax.plot(x, mean, color=colour, marker="o", markersize=3.5)
        ax.plot(x, limits[title], color=INK, linestyle="--", linewidth=1.2, label=limit_label)
        ax.set_title(title, fontsize=10)
        ax.set_ylim(-0.05, 1.25)
        ax.grid(axis="y", color="#DDDDDD", linewidth=0.7)
    for ax in axes.flat[len(curves) :]:
        ax.axis("off")
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center")
    return figure
