"""The drawing of the chapter on vision transformers: how an image becomes a sentence.

Every function returns a matplotlib figure and computes nothing but positions; what is drawn comes from the caller.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from stitchwork.figures.style import INK, PALETTE

ROUND = "round,pad=0,rounding_size=0.1"
PALE = {"blue": "#CFE3F1", "vermilion": "#F6D6C0", "grey": "#E4E4E4"}


def _box(ax: Axes, left: float, bottom: float, width: float, height: float, label: str, colour: str) -> None:
    """A box with round corners and a word in it."""
    face = FancyBboxPatch((left, bottom), width, height, ROUND, facecolor=PALE[colour], edgecolor="none")
    ax.add_patch(face)
    ax.text(left + width / 2, bottom + height / 2, label, ha="center", va="center", fontsize=9)


def draw_patches(image: np.ndarray, patch: int, shown: int = 5) -> Figure:
    """An image cut into patches; the patches in a row, each a token, with the class token in front; what comes after.

    Args:
        image: (3, H, W) in [0, 1]; H and W are multiples of ``patch``.
        patch: side of a patch in pixels.
        shown: patches that are drawn in the row before the dots; the last one follows.
    """
    image = np.asarray(image).transpose(1, 2, 0)
    height, width = (side // patch for side in image.shape[:2])
    count = height * width
    figure, (whole, row) = plt.subplots(1, 2, figsize=(7.6, 3.3), width_ratios=[1, 1.75])
    whole.imshow(image, extent=(0, width, height, 0))
    for line in range(1, height):
        whole.axhline(line, color="white", linewidth=1.0)
    for line in range(1, width):
        whole.axvline(line, color="white", linewidth=1.0)
    for number in (0, 1, 2, count - 1):
        place = number % width + 0.5, number // width + 0.5
        label = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.2}
        whole.text(*place, f"{number + 1}", color=INK, ha="center", va="center", fontsize=7.5, bbox=label)
    whole.axis("off")

    arrow = {"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 0}
    slots = [*range(shown), count - 1]
    for slot, number in enumerate(slots):
        left = 1.4 * slot + 1.4 + (0.8 if slot == shown else 0)
        i, j = number // width * patch, number % width * patch
        row.imshow(image[i : i + patch, j : j + patch], extent=(left, left + 1.1, 0, 1.1), zorder=2)
        row.annotate("", (left + 0.55, 2.1), (left + 0.55, 1.2), arrowprops=arrow)
        _box(row, left, 2.1, 1.1, 0.7, f"$E x_{{{number + 1}}}$", "blue")
        _box(row, left, 2.95, 1.1, 0.7, f"$+ p_{{{number + 1}}}$", "grey")
    right = 1.4 * shown + 1.4 + 0.8 + 1.1
    for height_of_dots in (0.55, 2.45):
        row.text(1.4 * shown + 1.55, height_of_dots, "…", ha="center", va="center", fontsize=13)
    _box(row, 0, 2.1, 1.1, 0.7, "class", "vermilion")
    _box(row, 0, 2.95, 1.1, 0.7, "$+ p_0$", "grey")
    _box(row, 0, 4.4, right, 1.0, "$L$ times: attention among all tokens, then a perceptron for each", "grey")
    for left in (0.55, right / 2, right - 0.55):
        row.annotate("", (left, 4.4), (left, 3.75), arrowprops=arrow)
    row.annotate("", (0.55, 6.2), (0.55, 5.4), arrowprops=arrow | {"color": PALETTE["vermilion"]})
    _box(row, 0, 6.2, 2.6, 0.8, "head: logits", "vermilion")
    row.set(xlim=(-0.2, right + 0.2), ylim=(-0.2, 7.2), aspect="equal")
    row.axis("off")
    return figure
