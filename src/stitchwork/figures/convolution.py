"""The drawings of the chapter on convolutions: what is read, which weights are free, what a machine can deliver.

Every function returns a matplotlib figure and computes nothing but positions; what is drawn comes from the caller.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import LogLocator, NullFormatter

from stitchwork.figures.style import INK, PALETTE

PAPER_GREY = "#EDEDED"
SIGNED = LinearSegmentedColormap.from_list("signed", [PALETTE["vermilion"], "#F7F7F7", PALETTE["blue"]])
"""Vermilion for negative, blue for positive, nearly white for zero."""
AMOUNT = LinearSegmentedColormap.from_list("amount", ["#E3F1FA", PALETTE["sky"], PALETTE["blue"], "#00223A"])
"""From pale to dark blue."""


def _channel(ax: Axes, left: float, size: int, marked: Sequence[tuple[int, int]], colour: str) -> None:
    """One channel as a square of ``size`` x ``size`` pixels, with some pixels filled."""
    for row in range(size):
        for column in range(size):
            face = colour if (row, column) in marked else PAPER_GREY
            ax.add_patch(Rectangle((left + column, row), 1, 1, facecolor=face, edgecolor="white", linewidth=0.8))


def draw_what_one_output_reads(channels: int = 4, size: int = 5, kernel_size: int = 3) -> Figure:
    """The numbers that one output pixel reads: of a convolution, a depthwise and a pointwise one.

    Args:
        channels: squares on either side.
        size: side of a square in pixels; at least ``kernel_size``.
        kernel_size: side of the kernel; odd.
    """
    middle, reach, chosen = size // 2, range(-(kernel_size // 2), kernel_size // 2 + 1), 1
    window = [(middle + i, middle + j) for i in reach for j in reach]
    pixel, everyone = [(middle, middle)], range(channels)
    rows = {
        f"convolution\n{channels} × {kernel_size}² weights": (window, everyone, PALETTE["blue"]),
        f"depthwise\n{kernel_size}² weights": (window, [chosen], PALETTE["green"]),
        f"pointwise\n{channels} weights": (pixel, everyone, PALETTE["orange"]),
    }
    figure, axes = plt.subplots(len(rows), 1, figsize=(7.2, 2.6))
    step, out = size + 0.8, channels * (size + 0.8) + 4.0
    for ax, (label, (marked, readers, colour)) in zip(axes, rows.items()):
        for c in everyone:
            _channel(ax, c * step, size, marked if c in readers else [], colour)
            _channel(ax, out + c * step, size, pixel if c == chosen else [], PALETTE["vermilion"])
        arrow = {"arrowstyle": "-|>", "color": INK}
        ax.annotate("", (out - 0.7, size / 2), (out - 3.9, size / 2), arrowprops=arrow)
        ax.text(-1.2, size / 2, label, ha="right", va="center", fontsize=10, linespacing=1.4)
        ax.set(xlim=(-13, out + channels * step), ylim=(size + 0.2, -0.2), aspect="equal")
        ax.axis("off")
    for left, word in ((0, "channels in"), (out, "channels out")):
        axes[0].text(left + (channels * step - 0.8) / 2, -0.6, word, ha="center", va="bottom", fontsize=10)
    return figure


def draw_kernels(kernels: Mapping[str, np.ndarray]) -> Figure:
    """Kernel tensors as pictures: one row a channel out, one column a channel in, in each cell the k x k weights.

    Args:
        kernels: a title and a tensor (C', C, k, k) each; zeros stand for connections that do not exist.
    """
    figure, axes = plt.subplots(1, len(kernels), figsize=(7.4, 7.4 / len(kernels) + 0.75), squeeze=False)
    for ax, (title, kernel) in zip(axes[0], kernels.items()):
        kernel = np.asarray(kernel)
        outs, ins, k, _ = kernel.shape
        picture = kernel.transpose(0, 2, 1, 3).reshape(outs * k, ins * k)  # (C' k, C k)
        bound = np.abs(picture).max()
        ax.imshow(picture, cmap=SIGNED, vmin=-bound, vmax=bound)
        for line in range(outs + 1):
            ax.axhline(line * k - 0.5, color=INK, linewidth=0.7)
        for line in range(ins + 1):
            ax.axvline(line * k - 0.5, color=INK, linewidth=0.7)
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[], xlabel="channel in")
    axes[0, 0].set_ylabel("channel out")
    return figure


def draw_kernel_positions(size: int, kernel_size: int = 3, strides: Sequence[int] = (1, 2), padding: int = 1) -> Figure:
    """Where the kernel's centre stops on a padded image, for each stride.

    Args:
        size: side of the image in pixels.
        kernel_size: side of the kernel.
        strides: one panel each.
        padding: pixels of zeros on each side.
    """
    figure, axes = plt.subplots(1, len(strides), figsize=(7.0, 3.3), squeeze=False)
    low, high = -padding, size + padding
    for ax, stride in zip(axes[0], strides):
        for row in range(low, high):
            for column in range(low, high):
                inside = 0 <= row < size and 0 <= column < size
                face = PAPER_GREY if inside else "white"
                ax.add_patch(
                    Rectangle(
                        (column, row), 1, 1, facecolor=face, edgecolor="#9A9A9A", linestyle="-" if inside else ":"
                    )
                )
        stops = np.arange(low, high - kernel_size + 1, stride) + kernel_size / 2
        rows, columns = np.meshgrid(stops, stops)
        for index, name in enumerate(("blue", "vermilion")):
            corner = stops[index] - kernel_size / 2
            ax.add_patch(
                Rectangle((corner, low), kernel_size, kernel_size, fill=False, edgecolor=PALETTE[name], linewidth=2.2)
            )
        ax.scatter(columns, rows, color=INK, s=22, zorder=3)
        ax.set_title(f"stride {stride}: {len(stops)} × {len(stops)} outputs", fontsize=10)
        ax.set(xlim=(low - 0.1, high + 0.1), ylim=(high + 0.1, low - 0.1), aspect="equal")
        ax.axis("off")
    return figure


def draw_support(maps: Mapping[str, np.ndarray], label: str = "") -> Figure:
    """Maps over the input pixels of what one output pixel sees; white is nothing at all.

    Args:
        maps: a title and a map (H, W) of numbers in [0, 1] each; booleans for yes and no.
        label: what the colour means; without it no colour bar is drawn.
    """
    figure, axes = plt.subplots(1, len(maps), figsize=(7.4, 7.4 / len(maps) + 0.6), squeeze=False)
    for ax, (title, values) in zip(axes[0], maps.items()):
        values = np.asarray(values, dtype=float)
        image = ax.imshow(np.ma.masked_equal(values, 0), vmin=0, vmax=1, cmap=AMOUNT)
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[])
        ax.spines[["top", "right"]].set_visible(True)
    if label:
        figure.colorbar(image, ax=axes[0], shrink=0.75, label=label)
    return figure


def draw_costs(costs: Mapping[str, Mapping[str, float]], xlabel: str) -> Figure:
    """Horizontal bars made of parts, such as multiply-adds by kind of layer.

    Args:
        costs: for each bar its parts, by name; the same names in every bar.
        xlabel: what the length means, with its unit.
    """
    figure, ax = plt.subplots(figsize=(7.0, 0.62 * len(costs) + 1.3))
    left = np.zeros(len(costs))
    for part in next(iter(costs.values())):
        lengths = np.array([parts[part] for parts in costs.values()])
        ax.barh(list(costs), lengths, left=left, height=0.6, label=part, edgecolor="white", linewidth=0.8)
        left += lengths
    ax.invert_yaxis()
    ax.set_xlabel(xlabel)
    ax.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def draw_curves(x: Sequence[float], curves: Mapping[str, Sequence[float]], xlabel: str, ylabel: str) -> Figure:
    """Lines over a logarithmic horizontal axis with a tick at every x; a name that starts with ~ is drawn dashed."""
    figure, ax = plt.subplots(figsize=(7.0, 3.2))
    for (name, values), marker in zip(curves.items(), "osD^v"):
        dashed = name.startswith("~")
        style = {"linestyle": "--", "color": "#5A5A5A", "linewidth": 1.4} if dashed else {"marker": marker}
        ax.plot(x, values, label=name.removeprefix("~"), **style)
    ax.set_xscale("log")
    ax.set_xticks(x, [f"{value:g}" for value in x])
    ax.minorticks_off()
    ax.set(xlabel=xlabel, ylabel=ylabel)
    figure.legend(loc="outside upper center", ncols=len(curves))
    return figure


def draw_bottlenecks(widths: Mapping[str, Sequence[float]], labels: Sequence[str]) -> Figure:
    """Residual blocks as silhouettes: how many channels wide the tensors are along the block.

    Args:
        widths: a title and the channel counts at the joints of the block each; the shortcut joins first and last.
        labels: the names of the layers between the joints.
    """
    figure, axes = plt.subplots(1, len(widths), figsize=(7.2, 3.0), sharey=True, squeeze=False)
    tallest = max(max(channels) for channels in widths.values())
    for ax, (title, channels) in zip(axes[0], widths.items()):
        for x, (start, end) in enumerate(pairwise(channels)):
            corners = [(x, start / 2), (x + 1, end / 2), (x + 1, -end / 2), (x, -start / 2)]
            ax.add_patch(Polygon(corners, facecolor=PALETTE["sky"], edgecolor="none", alpha=0.35))
            ax.text(x + 0.5, 0, labels[x], ha="center", va="center", fontsize=9)
        for x, count in enumerate(channels):
            ax.plot([x, x], [-count / 2, count / 2], color=PALETTE["blue"], linewidth=4, solid_capstyle="butt")
            ax.text(x, -count / 2 - 0.03 * tallest, f"{count}", ha="center", va="top", fontsize=10)
        last, top = len(channels) - 1, tallest * 0.72
        ax.plot([0, 0, last, last], [channels[0] / 2, top, top, channels[-1] / 2], color=PALETTE["vermilion"])
        ax.text(last / 2, top * 1.04, "shortcut", ha="center", va="bottom", color="#A84A00")
        ax.set_title(title, fontsize=10)
        ax.set(xlim=(-0.35, last + 0.35), ylim=(-0.68 * tallest, 0.88 * tallest))
        ax.axis("off")
    return figure


def draw_spirals(rows: Mapping[str, Mapping[str, np.ndarray]], lost: Mapping[str, np.ndarray]) -> Figure:
    """A curve in the plane and what came back of it, one row for each way back; lost points are crosses.

    Args:
        rows: the name of a way back, and for each title the points (P, 2); the same titles in every row.
        lost: by the same titles, which points are lost, (P,) booleans.
    """
    titles = list(lost)
    figure, axes = plt.subplots(len(rows), len(titles), figsize=(7.6, 1.35 * len(rows) + 0.3), squeeze=False)
    for line, (name, columns) in zip(axes, rows.items()):
        line[0].set_ylabel(name)
        for ax, title in zip(line, titles):
            points, gone = np.asarray(columns[title]), np.asarray(lost[title])
            progress = np.linspace(0, 1, len(points))
            ax.scatter(*points[~gone].T, c=progress[~gone], s=5, cmap="cividis", vmin=0, vmax=1)
            ax.scatter(*points[gone].T, color=PALETTE["vermilion"], s=10, marker="x", linewidths=0.8)
            ax.set(xticks=[], yticks=[], aspect="equal", xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
            ax.spines[["top", "right"]].set_visible(True)
    for ax, title in zip(axes[0], titles):
        ax.set_title(title, fontsize=10)
    return figure


def draw_responses(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> Figure:
    """A photograph, and signed maps made of it: blue for positive, vermilion for negative, one scale for all.

    Args:
        image: (3, H, W) in [0, 1].
        maps: a title and a map (H', W') each.
    """
    columns = (len(maps) + 2) // 2
    figure, axes = plt.subplots(2, columns, figsize=(7.4, 7.4 / columns * 2 + 0.6))
    bound = np.quantile(np.abs(np.stack([np.asarray(values) for values in maps.values()])), 0.99)
    axes.flat[0].imshow(np.asarray(image).transpose(1, 2, 0))
    axes.flat[0].set_title("photograph", fontsize=10)
    for ax, (title, values) in zip(axes.flat[1:], maps.items()):
        ax.imshow(np.asarray(values), cmap=SIGNED, vmin=-bound, vmax=bound)
        ax.set_title(title, fontsize=10)
    for ax in axes.flat:
        ax.axis("off")
    return figure


def draw_roofline(points: Mapping[str, tuple[float, float]], peak: float, bandwidth: float) -> Figure:
    """What a machine can deliver at each arithmetic intensity, and what layers got (williams2009roofline).

    Args:
        points: name -> (multiply-adds per byte, multiply-adds per second).
        peak: the most multiply-adds per second.
        bandwidth: bytes per second.
    """
    figure, ax = plt.subplots(figsize=(7.0, 3.7))
    ridge = peak / bandwidth
    intensities = [ridge, *(intensity for intensity, _ in points.values())]
    x = np.geomspace(min(intensities) / 4, max(intensities) * 3, 300)
    ax.plot(x, np.minimum(peak, bandwidth * x) / 1e9, color=INK)
    ax.axvline(ridge, color="#8A8A8A", linestyle=":", linewidth=1.2)
    for (name, (intensity, rate)), marker, colour in zip(points.items(), "osD^vP", PALETTE.values()):
        ax.plot(intensity, rate / 1e9, marker, markersize=9, color=colour, label=name, linestyle="none")
    ax.set(xscale="log", yscale="log", xlabel="multiply-adds per byte moved", ylabel="10⁹ multiply-adds a second")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    ax.set_ylim(bottom=ax.get_ylim()[0] / 1.6)
    ax.text(ridge * 0.93, 0.03, "memory-bound", ha="right", fontsize=9, transform=ax.get_xaxis_transform())
    ax.text(ridge * 1.07, 0.03, "compute-bound", ha="left", fontsize=9, transform=ax.get_xaxis_transform())
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_intervals(
    results: Mapping[str, tuple[Sequence[float], tuple[float, float, float]]], xlabel: str, marks: Sequence[float] = ()
) -> Figure:
    """One line a method: every seed as a dot, the mean as a stroke, its interval as a bar.

    Args:
        results: name -> (one value a seed, (mean, low, high)).
        xlabel: what was measured.
        marks: a prediction for each of the first lines, drawn as a diamond.
    """
    figure, ax = plt.subplots(figsize=(7.0, 0.55 * len(results) + 1.0))
    for row, ((values, (mean, low, high)), colour) in enumerate(zip(results.values(), cycle(PALETTE.values()))):
        ax.plot([low, high], [row, row], color=colour, linewidth=7, alpha=0.35, solid_capstyle="butt")
        ax.plot([mean, mean], [row - 0.25, row + 0.25], color=colour, linewidth=2.5)
        ax.scatter(values, [row] * len(values), color=colour, s=24, zorder=3, edgecolor="white", linewidth=0.5)
    if marks:
        ax.scatter(marks, np.arange(len(marks)) - 0.36, marker="D", s=22, color=INK, label="predicted")
        ax.legend(loc="lower right")
    ax.set_yticks(range(len(results)), list(results))
    ax.set_ylim(len(results) - 0.5, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(xlabel)
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    ax.set_axisbelow(True)
    return figure
