"""The drawing of a network whose decoder is its encoder in a mirror."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from stitchwork.figures.branches import _arrow, _box
from stitchwork.figures.style import PALETTE

NEAR, FAR, ENDS = "#CFE3F1", "#F6D6C0", "#E4E4E4"
WIDE, HIGH, STEP, AXIS = 2.9, 0.66, 1.1, 8.6


def draw_mirror(dims: Sequence[int], depths: Sequence[int], attending: Sequence[int], size: int = 224) -> Figure:
    """EViT-UNet's stages down and up, with what joins them; orange is where pixels attend to all others.

    Args:
        dims: channels of the stages, from the largest map on.
        depths: blocks of each stage.
        attending: how many of them attend.
        size: side of the image in pixels.
    """
    figure, ax = plt.subplots(figsize=(8.6, 3.7))
    last = len(dims) - 1
    for stage, (dim, depth, count) in enumerate(zip(dims, depths, attending)):
        colour, side = FAR if count else NEAR, size // 2 ** (stage + 2)
        left, middle = STEP * stage, -stage
        words = f"{dim} × {side}²\n{depth} blocks" + (f", {count} attend" if count else "")
        for start in (left, 2 * AXIS - left - WIDE):
            _box(ax, start, middle, WIDE, HIGH, words, colour)
        _arrow(ax, (left + WIDE, middle), (2 * AXIS - left - WIDE, middle), PALETTE["grey"])
        ax.plot(AXIS, middle, "D", color=PALETTE["vermilion"], markersize=7)
        if stage < last:
            down, up = ("3×3 + attention" if attends else "3×3" for attends in (stage == last - 1, stage > 0))
            for x, shift, label in ((left + WIDE / 2, STEP, down), (2 * AXIS - left - WIDE / 2, -STEP, up)):
                ends = (x + shift / 2, middle - HIGH / 2), (x + shift / 2, middle - 1 + HIGH / 2)
                _arrow(ax, *(ends if shift > 0 else ends[::-1]))
                far = 0.15 if shift < 0 else -0.15
                align = "left" if shift < 0 else "right"
                ax.text(ends[0][0] + far, middle - 0.5, label, ha=align, va="center", fontsize=7.5)
    for x, word in ((0, "stem"), (2 * AXIS - WIDE, "expand, 1×1")):
        _box(ax, x, 1, WIDE, HIGH, f"{word}\n{size}²", ENDS)
    _arrow(ax, (WIDE / 2, 1 - HIGH / 2), (WIDE / 2, HIGH / 2))
    _arrow(ax, (2 * AXIS - WIDE / 2, HIGH / 2), (2 * AXIS - WIDE / 2, 1 - HIGH / 2))
    ax.set(xlim=(-1.2, 2 * AXIS + 1.2), ylim=(-last - 0.5, 1.5))
    ax.axis("off")
    return figure
