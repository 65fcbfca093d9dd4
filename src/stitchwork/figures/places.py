"""Where a block can be plugged into a network.

Every function returns a matplotlib figure and computes nothing but positions.
"""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stitchwork.figures.branches import _arrow, _box
from stitchwork.figures.style import INK, PALETTE

BLUE, GREY = "#CFE3F1", "#E4E4E4"


def _mark(ax: Axes, x: float, y: float, label: str, colour: str = PALETTE["vermilion"]) -> None:
    """A place, as a numbered disk."""
    box = {"boxstyle": "circle,pad=0.22", "facecolor": colour, "edgecolor": "white"}
    ax.text(x, y, label, color="white", fontsize=9, fontweight="bold", ha="center", va="center", bbox=box, zorder=5)


def draw_places() -> Figure:
    """The places of a residual block and of a U-shaped network, numbered 1 to 7."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.1))
    for x, label in ((1.6, "conv1"), (4.4, "conv2")):
        _box(left, x, 0, 1.7, 0.9, label, BLUE)
    _box(left, 7.3, 0, 0.9, 0.9, "+", GREY)
    for start, end in ((0.3, 1.6), (3.3, 4.4), (6.1, 7.3), (8.2, 9.9)):
        _arrow(left, (start, 0), (end, 0))
    left.plot([0.75, 0.75, 7.75], [0, 1.7, 1.7], color=INK, linewidth=1.2)
    _arrow(left, (7.75, 1.7), (7.75, 0.45))
    left.text(4.2, 1.9, "shortcut", ha="center", va="bottom", fontsize=8.5)
    for x, label, colour in ((1.17, "1", "grey"), (3.85, "2", "grey"), (6.7, "3", "green"), (9.0, "4", "vermilion")):
        _mark(left, x, 0, label, PALETTE[colour])
    left.set(xlim=(0, 10), ylim=(-1.9, 2.9))
    left.set_title("residual block", fontsize=10.5, fontweight="bold", loc="left")

    levels = ((0.2, 2.4), (1.3, 1.2))  # left end of the box on the way down, height
    for x, y in levels:
        _box(right, x, y, 1.5, 0.75, "down", BLUE)
        _box(right, 8.3 - x, y, 1.5, 0.75, "up", BLUE)
        _arrow(right, (x + 1.5, y), (8.3 - x, y), "#8A8A8A")
        _arrow(right, (x + 0.9, y - 0.38), (x + 1.5, y - 0.82))
        _arrow(right, (8.5 - x, y - 0.82), (9.1 - x, y - 0.38))
    _box(right, 2.4, 0, 5.2, 0.75, "bottleneck", BLUE)
    for y in (2.4, 1.2):
        _mark(right, 5, y, "6", PALETTE["green"])
    _mark(right, 3.1, 0, "5", PALETTE["green"])
    for x, y in ((9.95, 2.4), (8.85, 1.2)):
        _mark(right, x, y, "7", PALETTE["grey"])
    right.set(xlim=(0, 10.4), ylim=(-1.0, 3.4))
    right.set_title("U-shaped network", fontsize=10.5, fontweight="bold", loc="left")
    for ax in (left, right):
        ax.axis("off")
    return figure
