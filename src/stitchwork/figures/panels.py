"""Small panels of lines that are to be compared."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from stitchwork.figures.style import PALETTE


def draw_line_panels(
    x: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    xlabel: str,
    ylabel: str,
    columns: int = 4,
    low: float = 1e-3,
) -> Figure:
    """One panel a title, all on the same axes; the vertical one is logarithmic and begins at ``low``.

    Args:
        x: places on the horizontal axis.
        panels: a title, and its lines by name; the same names in every panel.
        xlabel: what x is.
        ylabel: what the lines are.
        columns: panels in a row.
        low: where the vertical axis begins; what is less is not seen.
    """
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(7.6, 1.8 * rows + 0.6), sharex=True, sharey=True, squeeze=False)
    for ax, (title, lines) in zip(axes.flat, panels.items()):
        for (name, values), colour, style in zip(lines.items(), PALETTE.values(), ("-", "--", "-.", ":")):
            ax.plot(x, values, color=colour, linestyle=style, label=name)
        ax.set_yscale("log")
        ax.set_title(title, fontsize=10)
        ax.grid(axis="y", color="#DDDDDD", linewidth=0.7)
    axes[0, 0].set_ylim(bottom=low)
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
