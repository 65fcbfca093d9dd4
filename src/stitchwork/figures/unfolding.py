"""The drawing of the chapter on MobileViT: which pixels are put into one sequence.

Every function returns a matplotlib figure and computes nothing but positions.
"""

from itertools import cycle, islice

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stitchwork.figures.style import INK, PALETTE


def draw_unfolding(height: int, width: int, patch: int = 2) -> Figure:
    """A map of numbered pixels, cut into patches, and the sequences into which it is unfolded.

    Pixels of one colour have the same place in their patches; each colour is a sequence of its own.

    Args:
        height: of the map in pixels, a multiple of ``patch``.
        width: of the map in pixels, a multiple of ``patch``.
        patch: side of the patches.

    Raises:
        ValueError: the patches do not fit.
    """
    if height % patch or width % patch:
        raise ValueError(f"draw_unfolding: patches of {patch} x {patch} do not fit into {height} x {width} pixels")
    places, count = patch**2, height * width // patch**2
    colours = list(islice(cycle(PALETTE.values()), places))
    wide = count + 2.6
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(7.4, 7.4 * max(height, 1.6 * places) / (width + wide)), width_ratios=(width, wide)
    )
    for pixel in range(height * width):
        row, column = divmod(pixel, width)
        place = row % patch * patch + column % patch
        token = row // patch * (width // patch) + column // patch
        for ax, x, y, side in ((left, column, row, 1.0), (right, token, 1.6 * place, 0.94)):
            ax.add_patch(Rectangle((x, y), side, side, facecolor=colours[place], edgecolor="white", linewidth=1.0))
            ax.text(x + side / 2, y + side / 2, str(pixel), ha="center", va="center", fontsize=8, color="white")
    for row in range(0, height, patch):
        for column in range(0, width, patch):
            left.add_patch(Rectangle((column, row), patch, patch, fill=False, edgecolor=INK, linewidth=1.6))
    for place in range(places):
        right.text(-0.3, 1.6 * place + 0.47, f"place {place}", ha="right", va="center", fontsize=9)
    left.set(xlim=(-0.1, width + 0.1), ylim=(height + 0.1, -0.1))
    right.set(xlim=(-2.5, count + 0.1), ylim=(1.6 * places - 0.5, -0.1))
    left.set_title(f"{height} × {width} pixels, patches of {patch} × {patch}", fontsize=10)
    right.set_title(f"{places} sequences of {count} tokens", fontsize=10)
    for ax in (left, right):
        ax.set_aspect("equal")
        ax.axis("off")
    return figure
