"""Drawings of networks that go down and up again: which map goes where."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stitchwork.figures.style import INK, PALETTE

SIZES = 4
DOWN, UP, ACROSS = PALETTE["blue"], PALETTE["green"], PALETTE["grey"]


def _arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, bend: float = 0, style: str = "-"
) -> None:
    """An arrow between two nodes that stops short of both."""
    how = {"arrowstyle": "-|>", "color": colour, "shrinkA": 10, "shrinkB": 10, "linestyle": style}
    ax.annotate("", end, start, arrowprops={**how, "connectionstyle": f"arc3,rad={bend}"})


def _nodes(ax: Axes, nodes: list[tuple[int, int]], title: str) -> None:
    """The maps as disks: X(i, j) at column i + 2j, i rows down; blue on the way down, green behind it."""
    for i, j in nodes:
        disk = {"boxstyle": "circle,pad=0.3", "facecolor": UP if j else DOWN, "edgecolor": "white"}
        ax.text(i + 2 * j, -i, f"{i},{j}", color="white", fontsize=8, ha="center", va="center", bbox=disk, zorder=5)
    for i in range(SIZES - 1):
        _arrow(ax, (i, -i), (i + 1, -i - 1), DOWN)
    ax.set(xlim=(-0.7, 2 * SIZES - 1.3), ylim=(-SIZES + 0.4, 1.15))
    ax.set_title(title, fontsize=10.5, fontweight="bold", loc="left")
    ax.axis("off")


def draw_skips() -> Figure:
    """U-Net, Attention U-Net and UNet++ with four sizes: the maps as disks, and what each is made of."""
    figure, (plain, gated, nested) = plt.subplots(1, 3, figsize=(8.6, 2.7))
    last = SIZES - 1
    path = [(i, last - i) for i in range(last - 1, -1, -1)]  # the way up, from the bottom
    for ax, title in ((plain, "U-Net"), (gated, "Attention U-Net")):
        _nodes(ax, [(i, 0) for i in range(SIZES)] + path, title)
        for i, j in path:
            end = i + 2 * j, -i
            _arrow(ax, (end[0] - 1, end[1] - 1), end, UP)
            _arrow(ax, (i, -i), end, ACROSS)
            if ax is gated:
                gate = (i + end[0]) / 2, -i
                ax.plot(*gate, "D", color=PALETTE["vermilion"], markersize=7, zorder=6)
                _arrow(ax, (end[0] - 1, end[1] - 1), gate, PALETTE["vermilion"], style=":")
    _nodes(nested, [(i, j) for i in range(SIZES) for j in range(SIZES - i)], "UNet++")
    for i in range(last):
        for j in range(1, SIZES - i):
            end = i + 2 * j, -i
            _arrow(nested, (end[0] - 1, end[1] - 1), end, UP)
            for before in range(j):
                bend = -0.12 * (j - before - 1) * 2  # past the nodes between
                _arrow(nested, (i + 2 * before, -i), end, ACROSS, bend)
    kinds = {"halve": DOWN, "double": UP, "skip": ACROSS, "gate": PALETTE["vermilion"]}
    handles = [plt.Line2D([], [], color=colour, linewidth=2) for colour in kinds.values()]
    figure.legend(handles, kinds, loc="outside lower center", ncols=4, labelcolor=INK)
    return figure
