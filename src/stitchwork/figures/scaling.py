"""The drawings of the chapter on compound scaling: networks as rows of slabs, and shares of a budget as a triangle."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stitchwork.figures.style import INK, PALETTE


def draw_scaled_networks(networks: Mapping[str, tuple[Sequence[int], Sequence[int], int]]) -> Figure:
    """Networks side by side as rows of slabs, one a block: as tall as its image, as thick as its channels.

    Args:
        networks: title -> (blocks in each stage, channels of each stage, side of the image); each stage is drawn at
            half the side of the one before.
    """
    figure, axes = plt.subplots(1, len(networks), figsize=(7.4, 2.6), squeeze=False)
    shapes = []
    for depths, widths, resolution in networks.values():
        slabs, left = [], 0.0
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            for _ in range(depth):
                slabs.append((left, width, resolution / 2**stage, stage))
                left += width + 4
        shapes.append((slabs, left - 4))
    longest = max(length for _, length in shapes)
    tallest = max(slabs[0][2] for slabs, _ in shapes)
    colours = list(PALETTE.values())
    for ax, title, (slabs, length) in zip(axes[0], networks, shapes):
        start = (longest - length) / 2
        for left, width, height, stage in slabs:
            colour = colours[stage % len(colours)]
            ax.add_patch(Rectangle((start + left, -height / 2), width, height, facecolor=colour, edgecolor="none"))
        ax.set(xlim=(-2, longest + 2), ylim=(-0.55 * tallest, 0.55 * tallest))
        ax.set_title(title, fontsize=10)
        ax.axis("off")
    return figure


def draw_shares(values: Mapping[tuple[float, float, float], float], corners: tuple[str, str, str], unit: str) -> Figure:
    """Numbers on a triangle whose corners are three things that a budget may be spent on.

    Args:
        values: the three shares, which add up to 1 -> what came of it; the largest has a ring.
        corners: what the shares are of.
        unit: what the values are, for the colour bar.
    """
    height = 3**0.5 / 2
    places = ((0.5, height), (0.0, 0.0), (1.0, 0.0))
    points = [tuple(sum(s * p[axis] for s, p in zip(shares, places)) for axis in (0, 1)) for shares in values]
    figure, ax = plt.subplots(figsize=(5.4, 3.6))
    ax.plot(*zip(*places, places[0]), color="#B0B0B0", linewidth=1, zorder=1)
    dots = ax.scatter(*zip(*points), c=list(values.values()), s=900, edgecolor="none", zorder=2)
    best = max(values, key=values.get)
    ax.scatter(
        *points[list(values).index(best)], s=1150, facecolor="none", edgecolor=PALETTE["vermilion"], linewidth=2.5
    )
    middle = (min(values.values()) + max(values.values())) / 2
    for (x, y), value in zip(points, values.values()):
        ax.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=9, color="white" if value < middle else INK)
    for (x, y), label, side in zip(places, corners, ("bottom", "top", "top")):
        ax.text(x, y + (0.12 if side == "bottom" else -0.12), label, ha="center", va=side)
    ax.set(xlim=(-0.3, 1.3), ylim=(-0.3, height + 0.3), aspect="equal")
    ax.axis("off")
    figure.colorbar(dots, ax=ax, shrink=0.7, label=unit)
    return figure
