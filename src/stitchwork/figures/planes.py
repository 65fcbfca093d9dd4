"""The drawing of the planes on which gates are decided."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from stitchwork.figures.attention import DEPTH, _box
from stitchwork.figures.style import INK, PALETTE


def draw_planes(channels: int = 4, height: int = 4, width: int = 6) -> Figure:
    """What seven blocks keep of a feature map before they decide, and the shapes of their gates.

    Args:
        channels: depth of the box that stands for the feature map, even.
        height: rows of the box.
        width: columns of the box.
    """
    c, h, w = channels, height, width
    channel, plane, box = (c, 1, 1), (1, h, w), (c, h, w)
    row, column, half = (c, h, 1), (c, 1, w), c // 2
    lines = [
        ("CBAM", [("mean, max\nof a channel", channel), ("max, mean\nof a pixel", plane)], [channel, plane]),
        ("CoordAtt", [("mean\nof a row", row), ("mean\nof a column", column)], [row, column]),
        (
            "Triplet",
            [("max, mean\nof a column", column), ("max, mean\nof a row", row), ("max, mean\nof a pixel", plane)],
            [column, row, plane],
        ),
        (
            "EMA\n(a group)",
            [("means of row\nand column", (half, h, 1)), ("", (half, 1, w)), ("3×3", (half, h, w))],
            [plane],
        ),
        ("Shuffle\n(a group)", [("mean of\na channel", (half, 1, 1)), ("everything", (half, h, w))],
         [(half, 1, 1), (half, h, w)]),
        ("GAM", [("everything", box)], [box, box]),
        ("SimAM", [("mean, variance\nof a channel", channel), ("everything", box)], [box]),
    ]  # fmt: skip
    figure, axes = plt.subplots(len(lines), 1, figsize=(7.4, 8.0))
    reach = (height + channels * DEPTH[1]) / 2
    arrow = {"arrowstyle": "-|>", "color": INK}
    for ax, (name, kept, gates) in zip(axes, lines):
        ax.text(-1.2, 0, name, ha="right", va="center", fontsize=11, fontweight="bold")
        _box(ax, 0, box, PALETTE["grey"])
        for start, parts, colour in (
            (12.5, kept, PALETTE["blue"]),
            (48.5, [("", gate) for gate in gates], PALETTE["vermilion"]),
        ):
            ax.annotate("", (start - 0.8, 0), (start - 3.2, 0), arrowprops=arrow)
            for label, shape in parts:
                end = _box(ax, start, shape, colour)
                ax.text((start + end) / 2, -reach - 0.3, label, ha="center", va="top", fontsize=8, linespacing=1.05)
                start = max(end + 1.4, start + (11.0 if label else 5.0))
        ax.set(xlim=(-8.5, 74.5), ylim=(-reach - 2.9, reach + 0.2), aspect="equal")
        ax.axis("off")
    for x, word in ((4.0, "features\n$C × H × W$"), (26.0, "what is kept\nto decide by"), (58.5, "gates")):
        axes[0].text(x, reach + 0.8, word, ha="center", va="bottom", fontsize=10.5)
    return figure
