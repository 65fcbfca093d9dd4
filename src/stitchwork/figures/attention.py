"""The drawings of the chapter on gates: what each block keeps of a feature map, and what its gates say.

Every function returns a matplotlib figure and computes nothing but positions; what is drawn comes from the caller.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator

from stitchwork.figures.style import INK, PALETTE

DEPTH = np.array([0.42, 0.34])
"""How far one channel further back lies to the right and upwards, in pixels of the front face."""


def _box(ax: Axes, left: float, shape: tuple[int, int, int], colour: str) -> float:
    """A tensor (C, H, W) as a box of unit cells, centred on height 0; returns the right end of what was drawn."""
    channels, height, width = shape
    front = np.array([left, height / 2 - DEPTH[1] * channels / 2])  # the top left corner of the first channel
    right, down, back = np.array([1.0, 0.0]), np.array([0.0, -1.0]), DEPTH
    above, beside = front + channels * back, front + width * right
    faces = [
        (front, right, width, down, height, 0.0),
        (above, right, width, -back, channels, 0.45),
        (beside, back, channels, down, height, 0.25),
    ]
    for corner, u, m, v, n, lightness in faces:
        face = np.array(to_rgb(colour)) * (1 - lightness) + lightness
        for i in range(m):
            for j in range(n):
                start = corner + i * u + j * v
                cell = [start, start + u, start + u + v, start + v]
                ax.add_patch(Polygon(cell, facecolor=face, edgecolor="white", linewidth=0.6))
    return beside[0] + channels * DEPTH[0]


def draw_summaries(channels: int = 5, height: int = 5, width: int = 7) -> Figure:
    """What SE, CBAM and coordinate attention keep of a feature map before they decide, and how large their gates are.

    Args:
        channels: depth of the box that stands for the feature map.
        height: rows of the box.
        width: columns of the box.
    """
    channel, plane = (channels, 1, 1), (1, height, width)
    rows, columns = (channels, height, 1), (channels, 1, width)
    steps = [
        ("SE", [("mean of\na channel", channel)], [("$C$", channel)]),
        ("CBAM, first", [("mean of\na channel", channel), ("max of\na channel", channel)], [("$C$", channel)]),
        ("CBAM, then", [("max of\na pixel", plane), ("mean of\na pixel", plane)], [("$H × W$", plane)]),
        (
            "CoordAtt",
            [("mean of\na row", rows), ("mean of\na column", columns)],
            [("$C × H$", rows), ("$C × W$", columns)],
        ),
    ]
    figure, axes = plt.subplots(len(steps), 1, figsize=(7.4, 6.4))
    reach = height / 2 + channels * DEPTH[1] / 2
    for ax, (name, summaries, gates) in zip(axes, steps):
        ax.text(-1.0, 0, name, ha="right", va="center", fontsize=11, fontweight="bold")
        _box(ax, 0, (channels, height, width), PALETTE["grey"])
        for start, parts, colour in ((14.5, summaries, PALETTE["blue"]), (37.0, gates, PALETTE["vermilion"])):
            arrow = {"arrowstyle": "-|>", "color": INK}
            ax.annotate("", (start - 0.8, 0), (start - 3.6, 0), arrowprops=arrow)
            for label, shape in parts:
                end = _box(ax, start, shape, colour)
                ax.text((start + end) / 2, -reach - 0.5, label, ha="center", va="top", fontsize=9.5, linespacing=1.1)
                start = max(end + 1.6, start + 7.4)
        ax.set(xlim=(-8.5, 56.5), ylim=(-reach - 2.6, reach + 0.2), aspect="equal")
        ax.axis("off")
    for x, word in (
        (4.5, "features\n$C × H × W$"),
        (20.5, "what is kept\nto decide by"),
        (43.0, "gate,\nbetween 0 and 1"),
    ):
        axes[0].text(x, reach + 0.8, word, ha="center", va="bottom", fontsize=10.5)
    return figure


def draw_images(rows: Mapping[str, Mapping[str, np.ndarray]], cmap: str = "gray", symmetric: bool = False) -> Figure:
    """Images of one size under their titles, one row a name; within a row those of one channel share a colour scale.

    Args:
        rows: the name of a row, and its images by title: (H, W), or (H, W, 3) in [0, 1] for colour.
        cmap: colour map of the images with one channel.
        symmetric: puts zero in the middle of the colour map.
    """
    count = max(len(images) for images in rows.values())
    height, width = np.shape(next(iter(next(iter(rows.values())).values())))[:2]
    side = 7.1 / count * height / width
    figure, axes = plt.subplots(len(rows), count, figsize=(7.4, (side + 0.32) * len(rows)), squeeze=False)
    for line, (name, images) in zip(axes, rows.items()):
        flat = np.concatenate([np.ravel(image) for image in images.values() if np.ndim(image) == 2] or [np.zeros(1)])
        low, high = (-np.abs(flat).max(), np.abs(flat).max()) if symmetric else (flat.min(), flat.max())
        for ax, (title, image) in zip(line, images.items()):
            ax.imshow(np.asarray(image), cmap=cmap, vmin=low, vmax=high)
            ax.set_title(title, fontsize=9.5)
        line[0].set_ylabel(name, fontsize=9.5)
        for ax in line:
            ax.set(xticks=[], yticks=[])
            ax.spines[["top", "right"]].set_visible(True)
        for ax in line[len(images) :]:
            ax.axis("off")
    return figure


def draw_channel_gates(gates: Mapping[str, Sequence[float]]) -> Figure:
    """How loud each channel is, for several inputs: one mark a channel and an input.

    Args:
        gates: a name and the C gates, between 0 and 1, each.
    """
    figure, ax = plt.subplots(figsize=(7.2, 2.9))
    marks = zip(gates.items(), "osD^v", PALETTE.values())
    values = np.array(list(gates.values()))
    positions = np.arange(values.shape[1])
    ax.vlines(positions, values.min(0), values.max(0), color="#BBBBBB", linewidth=1.5, zorder=1)
    for (name, gate), marker, colour in marks:
        ax.scatter(positions, gate, marker=marker, color=colour, label=name, s=38, zorder=2)
    ax.set(ylim=(-0.04, 1.04), xlabel="channel", ylabel="gate")
    ax.set_xticks(positions if len(positions) <= 16 else positions[::4])
    figure.legend(loc="outside upper center", ncols=len(gates))
    return figure


def draw_row_and_column_gates(panels: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """Images with the gates of their rows beside them and the gates of their columns below.

    Args:
        panels: a title, and an image ((H, W, 3) in [0, 1], or (H, W)), the row gates (h,) and the column gates (w,).
    """
    figure, axes = plt.subplots(
        2, 2 * len(panels), figsize=(7.4, 3.4), width_ratios=[3, 1] * len(panels), height_ratios=[3, 1]
    )
    for number, (title, (image, rows, columns)) in enumerate(panels.items()):
        (picture, side), (below, corner) = axes[:, 2 * number : 2 * number + 2]
        picture.imshow(image, cmap="gray", aspect="auto")
        picture.set_title(title, fontsize=10)
        picture.set(xticks=[], yticks=[])
        side.plot(rows, np.arange(len(rows)), color=PALETTE["blue"])
        side.set(ylim=(len(rows) - 0.5, -0.5), yticks=[])
        side.set_title("rows", fontsize=9.5)
        side.xaxis.set_major_locator(MaxNLocator(2))
        below.plot(np.arange(len(columns)), columns, color=PALETTE["vermilion"])
        below.set(xlim=(-0.5, len(columns) - 0.5), xticks=[], ylabel="columns")
        below.yaxis.set_major_locator(MaxNLocator(2))
        corner.axis("off")
    return figure
