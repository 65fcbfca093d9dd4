"""Drawings of pyramids: what a pixel's keys stand for."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from stitchwork.figures.style import PALETTE


def draw_cells(panels: Mapping[str, tuple[np.ndarray, Sequence[int]]]) -> Figure:
    """Images, and over each the grids of the cells that keys stand for; the first grid is drawn boldest.

    Args:
        panels: a title, an image (3, H, W) in [0, 1] and the cells along its side, one number for each grid.
    """
    count = len(panels)
    figure, axes = plt.subplots(1, count, figsize=(7.4, 7.4 / count + 0.5), squeeze=False)
    for ax, (title, (image, grids)) in zip(axes[0], panels.items()):
        ax.imshow(np.asarray(image).transpose(1, 2, 0), extent=(0, 1, 1, 0))
        for cells, width, colour in zip(grids, (1.6, 0.8), (PALETTE["vermilion"], "white")):
            for place in np.arange(cells + 1) / cells:
                ax.plot([place, place], [0, 1], color=colour, linewidth=width, zorder=3 - width / 2)
                ax.plot([0, 1], [place, place], color=colour, linewidth=width, zorder=3 - width / 2)
        ax.set_title(title, fontsize=9.5)
        ax.set(xticks=[], yticks=[], xlim=(-0.01, 1.01), ylim=(1.01, -0.01))
        ax.spines[:].set_visible(False)
    return figure


def draw_errors_by_size(
    errors: Mapping[str, Mapping[int, Sequence[float]]],
    bounds: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """One panel a method: every seed as a dot over the size, the means joined, and a prediction as a dashed line.

    Args:
        errors: a title, and for each size one number a seed; the same sizes everywhere.
        bounds: for some of the titles a prediction for each size.
        xlabel: what the sizes are.
        ylabel: what the numbers are.
    """
    figure, axes = plt.subplots(1, len(errors), figsize=(7.4, 2.5), sharey=True, squeeze=False)
    for ax, (title, sizes), colour in zip(axes[0], errors.items(), PALETTE.values()):
        places = range(len(sizes))
        for place, values in zip(places, sizes.values()):
            ax.scatter([place] * len(values), values, color=colour, s=16, zorder=3, edgecolor="white", linewidth=0.4)
        ax.plot(places, [np.mean(values) for values in sizes.values()], color=colour)
        if title in bounds:
            ax.plot(places, bounds[title], color="#5A5A5A", linestyle="--", linewidth=1.3)
        ax.set_title(title, fontsize=9)
        ax.set_xticks(places, [str(size) for size in sizes])
        ax.set_xlim(-0.4, len(sizes) - 0.6)
        ax.grid(axis="y", color="#DDDDDD", linewidth=0.7)
        ax.set_axisbelow(True)
    axes[0, 0].set_ylim(bottom=-0.04)
    axes[0, 0].set_ylabel(ylabel)
    figure.supxlabel(xlabel, fontsize=10)
    return figure
