"""The drawing of the chapter on attention without its matrix: one product of three, bracketed in two ways."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stitchwork.figures.style import INK, PALETTE


def _matrix(ax: Axes, left: float, rows: float, columns: float, name: str, size: str, colour: str) -> float:
    """A matrix to scale, centred on height 0, its size below; returns its right end."""
    ax.add_patch(Rectangle((left, -rows / 2), columns, rows, facecolor=colour, edgecolor="white"))
    middle = left + columns / 2
    ax.text(middle, 0, name, ha="center", va="center", fontsize=11, color="white", fontweight="bold")
    ax.text(middle, -rows / 2 - 0.25, size, ha="center", va="top", fontsize=9)
    return left + columns


def draw_association(pixels: float = 6.0, channels: float = 1.6) -> Figure:
    """The product Q Kᵀ V with all matrices to scale: K meets Q first, or V first.

    Args:
        pixels: height of Q, K and V on the page.
        channels: their width.
    """
    blue, orange, grey = PALETTE["blue"], PALETTE["vermilion"], PALETTE["grey"]
    n, d = pixels, channels
    orders = {
        "$(QK^\\top)\\,V$": [
            [("Q", n, d, "$N \\times d$", blue), ("Kᵀ", d, n, "$d \\times N$", blue)],
            [("QKᵀ", n, n, "$N \\times N$", orange), ("V", n, d, "$N \\times d$", blue)],
        ],
        "$Q\\,(K^\\top V)$": [
            [("Kᵀ", d, n, "$d \\times N$", blue), ("V", n, d, "$N \\times d$", blue)],
            [("Q", n, d, "$N \\times d$", blue), ("KᵀV", d, d, "$d \\times d$", orange)],
        ],
    }
    gap, arrow = 0.5, 2.6
    figure, axes = plt.subplots(2, 1, figsize=(7.4, 4.3))
    for ax, (title, steps) in zip(axes, orders.items()):
        x = 0.0
        for step in (*steps, [("Y", n, d, "$N \\times d$", grey)]):
            for name, rows, columns, size, colour in step:
                x = _matrix(ax, x, rows, columns, name, size, colour) + gap
            if step[0][0] != "Y":
                ax.annotate("", (x + arrow - gap, 0), (x, 0), arrowprops={"arrowstyle": "-|>", "color": INK})
                x += arrow
        ax.text(-0.8, 0, title, ha="right", va="center", fontsize=12)
        ax.set(xlim=(-5.4, 2 * n + 4 * d + 2 * arrow + 3 * gap), ylim=(-n / 2 - 1.1, n / 2 + 0.2), aspect="equal")
        ax.axis("off")
    return figure
