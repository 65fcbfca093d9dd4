"""The drawings of the chapter on channel gates: which channel is heard by which gate, and in what each is summed up.

Every function returns a matplotlib figure and computes nothing but positions; what is drawn comes from the caller.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stitchwork.figures.style import INK, PALETTE


def _dots(ax: Axes, x: float, count: int, colour: str, tall: int) -> list[float]:
    """A column of dots, centred; returns their heights."""
    heights = [(count - 1) / 2 - i for i in range(count)]
    ax.scatter([x] * count, heights, s=70 if count == tall else 110, color=colour, zorder=3, edgecolor="white")
    return heights


def draw_gate_wiring(channels: int = 8, hidden: int = 2, kernel_size: int = 3) -> Figure:
    """How the summaries of the channels become gates: through a bottleneck (SE), a sliding window (ECA), or through a
    bottleneck from summaries of several kinds (FcaNet).

    Args:
        channels: dots in a column.
        hidden: dots of the bottleneck.
        kernel_size: how many summaries a gate of ECA hears; odd.
    """
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 3.6))
    thread = {"color": PALETTE["grey"], "linewidth": 0.9, "alpha": 0.75, "zorder": 1}
    for ax, title in zip(axes, ("SE", "ECA", "FcaNet")):
        left = _dots(ax, 0, channels, PALETTE["blue"], channels)
        right = _dots(ax, 2, channels, PALETTE["vermilion"], channels)
        if title == "ECA":
            reach = kernel_size // 2
            for gate in range(channels):
                for channel in range(max(0, gate - reach), min(channels, gate + reach + 1)):
                    ax.plot([0, 2], [left[channel], right[gate]], **thread)
        else:
            middle = _dots(ax, 1, hidden, PALETTE["green"], channels)
            for height in middle:
                for channel in range(channels):
                    ax.plot([0, 1], [left[channel], height], **thread)
                    ax.plot([1, 2], [height, right[channel]], **thread)
        for channel, height in enumerate(left):
            _summary(ax, (-0.95, height), channel * 4 // channels if title == "FcaNet" else 0)
        ax.set_title(title, fontweight="bold")
        ax.text(-0.95, -channels / 2 - 0.25, "summed\nup by", ha="center", va="top", fontsize=9)
        ax.text(0, -channels / 2 - 0.25, "$z$", ha="center", va="top", fontsize=11)
        ax.text(2, -channels / 2 - 0.25, "gates", ha="center", va="top", fontsize=9)
        ax.set(xlim=(-1.5, 2.3), ylim=(-channels / 2 - 1.7, channels / 2))
        ax.axis("off")
    return figure


def _summary(ax: Axes, centre: tuple[float, float], kind: int) -> None:
    """A small picture of the image that a channel is multiplied by: constant, lying, upright, chequered."""
    along = np.cos(np.pi * np.arange(0.5, 8) / 4)
    flat = np.ones(8)
    rows, columns = ((flat, flat), (along, flat), (flat, along), (along, along))[kind]
    (x, y), half = centre, np.array([0.3, 0.38])
    extent = (x - half[0], x + half[0], y - half[1], y + half[1])
    ax.imshow(np.outer(rows, columns), extent=extent, cmap="RdBu", vmin=-1.6, vmax=1.6, aspect="auto", zorder=2)
    ax.add_patch(Rectangle((extent[0], extent[2]), *(2 * half), fill=False, edgecolor=INK, linewidth=0.6, zorder=3))


def draw_frequencies(basis: np.ndarray, chosen: Sequence[tuple[int, int]]) -> Figure:
    """The cosine images of a DCT in a grid, those of ``chosen`` framed and numbered in their order.

    Args:
        basis: (n, n, h, w), the image of each frequency (u, v): u along the height, v along the width.
        chosen: frequencies to mark.
    """
    count = len(basis)
    figure, axes = plt.subplots(count, count, figsize=(5.2, 5.4))
    for u in range(count):
        for v in range(count):
            ax, image = axes[u, v], np.asarray(basis[u, v])
            ax.imshow(image, cmap="RdBu", vmin=-np.abs(image).max(), vmax=np.abs(image).max())
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=(u, v) in chosen, color=PALETTE["orange"], linewidth=3.5)
            if (u, v) in chosen:
                number = {"color": INK, "fontsize": 9, "fontweight": "bold", "ha": "center", "va": "center"}
                card = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
                ax.text(0.5, 0.5, str(chosen.index((u, v)) + 1), transform=ax.transAxes, bbox=card, **number)
    for i in range(count):
        axes[0, i].set_title(f"v = {i}", fontsize=9)
        axes[i, 0].set_ylabel(f"u = {i}", fontsize=9)
    return figure


def draw_matrices(matrices: Mapping[str, np.ndarray], xlabel: str, ylabel: str) -> Figure:
    """Matrices of one height side by side, each on its own symmetric colour scale.

    Args:
        matrices: a title and a matrix (rows, columns) each.
        xlabel: what a column is.
        ylabel: what a row is.
    """
    figure, axes = plt.subplots(1, len(matrices), figsize=(7.4, 7.4 / len(matrices) + 0.5), squeeze=False)
    for ax, (title, matrix) in zip(axes[0], matrices.items()):
        matrix = np.asarray(matrix)
        top = np.abs(matrix).max()
        ax.imshow(matrix, cmap="RdBu", vmin=-top, vmax=top, aspect="auto")
        ax.set(xlabel=xlabel, xticks=[], yticks=[])
        ax.set_title(title, fontsize=10)
        ax.spines[["top", "right"]].set_visible(True)
    axes[0, 0].set_ylabel(ylabel)
    return figure
