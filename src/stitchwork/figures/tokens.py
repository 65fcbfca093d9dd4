"""The drawings of the chapter on attention: tokens as points, matrices with their numbers, and who shares a mean.

Every function returns a matplotlib figure and computes nothing but positions; what is drawn comes from the caller.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stitchwork.figures.convolution import PAPER_GREY, SIGNED
from stitchwork.figures.style import INK, PALETTE


def draw_moves(
    panels: Mapping[str, Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]],
    axes: tuple[str, str],
) -> Figure:
    """Words as points of a plane, with an arrow to where each is moved.

    Args:
        panels: for each panel its sentences by name, and for each word of a sentence the points before and after;
            a sentence has the same colour in every panel.
        axes: what the two numbers of a word mean.
    """
    figure, plots = plt.subplots(1, len(panels), figsize=(7.4, 7.4 / len(panels) + 0.6), squeeze=False, sharey=True)
    points = [
        p for sentences in panels.values() for words in sentences.values() for ends in words.values() for p in ends
    ]
    low, high = np.min(points) - 0.35, np.max(points) + 0.75
    for ax, (title, sentences) in zip(plots[0], panels.items()):
        for (sentence, words), colour, side in zip(sentences.items(), PALETTE.values(), (1, -1)):
            for word, (before, after) in words.items():
                ax.plot(*before, "o", color=INK, markersize=5, zorder=3)
                ax.annotate(word, before, (5, 5), textcoords="offset points", fontsize=9)
                if not np.allclose(before, after):
                    bend = f"arc3,rad={0.15 * side}"
                    arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "connectionstyle": bend}
                    ax.annotate("", after, before, arrowprops=arrow, zorder=2)
            ax.plot([], [], color=colour, label=sentence)
        ax.set(xlim=(low, high), ylim=(low, high), xlabel=axes[0], aspect="equal")
        ax.set_title(title, fontsize=10)
    plots[0, 0].set_ylabel(axes[1])
    handles, labels = plots[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def draw_stages(stages: Mapping[str, tuple[np.ndarray, Sequence[str]]], tokens: Sequence[str]) -> Figure:
    """Matrices side by side with their numbers written in, one row a token.

    Args:
        stages: a title, a matrix (tokens, columns) and the names of its columns each.
        tokens: the names of the rows.
    """
    widths = [np.shape(matrix)[1] + 0.6 for matrix, _ in stages.values()]
    size = (7.6, 0.46 * len(tokens) + 1.1)
    figure, axes = plt.subplots(1, len(stages), figsize=size, width_ratios=widths, squeeze=False)
    for ax, (title, (matrix, columns)) in zip(axes[0], stages.items()):
        matrix = np.asarray(matrix, dtype=float)
        bound = max(np.abs(matrix).max(), 1e-12)
        ax.imshow(matrix, cmap=SIGNED, vmin=-bound, vmax=bound, aspect="auto")
        for (i, j), value in np.ndenumerate(matrix):
            colour = "white" if abs(value) > 0.6 * bound else INK
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
        ax.set_xticks(range(matrix.shape[1]), columns, fontsize=9)
        ax.set_yticks(range(len(tokens)), tokens if ax is axes[0, 0] else [], fontsize=9)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title(title, fontsize=10)
    return figure


def draw_statistics(sets: Mapping[str, np.ndarray], element: tuple[int, int, int]) -> Figure:
    """Which numbers of a batch a normalisation looks at for one of them: images side by side, one row a channel.

    Args:
        sets: the name of a normalisation, and which numbers count, booleans (images, channels, tokens).
        element: the image, the channel and the token of the one.
    """
    figure, axes = plt.subplots(1, len(sets), figsize=(7.4, 2.5), squeeze=False)
    for ax, (title, counts) in zip(axes[0], sets.items()):
        counts = np.asarray(counts)
        images, channels, tokens = counts.shape
        for (image, channel, token), inside in np.ndenumerate(counts):
            left = image * (tokens + 0.8) + token
            face = PALETTE["blue"] if inside else PAPER_GREY
            ax.add_patch(Rectangle((left, channel), 1, 1, facecolor=face, edgecolor="white", linewidth=0.8))
            if (image, channel, token) == tuple(element):
                ax.plot(left + 0.5, channel + 0.5, "o", color="white", markersize=4)
        for image in range(images):
            middle = image * (tokens + 0.8) + tokens / 2
            ax.text(middle, channels + 0.2, f"image {image + 1}", ha="center", va="top", fontsize=8.5)
        ax.set(xlim=(-0.2, images * (tokens + 0.8) - 0.6), ylim=(channels + 1.2, -0.2), aspect="equal")
        ax.set_title(title, fontsize=10)
        ax.axis("off")
    axes[0, 0].text(-0.4, channels / 2, "channels", rotation=90, ha="right", va="center", fontsize=9)
    return figure
