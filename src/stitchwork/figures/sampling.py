"""The drawings of the chapter on kernels that look elsewhere: where the taps of one output pixel read.

Every function returns a matplotlib figure and computes nothing but positions; what is drawn comes from the caller.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from stitchwork.figures.style import INK, PALETTE


def draw_sampling_points(
    panels: Mapping[str, tuple[np.ndarray, tuple[int, int], Sequence[float], Sequence[float]]], line: bool = False
) -> Figure:
    """The points at which the kernel reads for one output pixel, on the image that it reads.

    Args:
        panels: a title, and an image ((H, W), or (H, W, 3) in [0, 1]), the output pixel (row, column), and the rows
            (P,) and the columns (P,) of the points.
        line: joins the points in their order.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(7.4, 7.4 / len(panels) + 0.45), squeeze=False)
    for ax, (title, (image, (row, column), rows, columns)) in zip(axes[0], panels.items()):
        image = np.asarray(image, dtype=float)
        ax.imshow(image, cmap="gray", vmin=min(image.min(), 0), vmax=max(image.max(), 1))
        ax.plot(column, row, "s", markersize=11, markerfacecolor="none", markeredgecolor=PALETTE["sky"], zorder=2)
        ax.plot(
            np.asarray(columns),
            np.asarray(rows),
            linestyle="-" if line else "none",
            linewidth=1.2,
            marker="o",
            markersize=5,
            color=PALETTE["vermilion"],
            markeredgecolor="white",
            markeredgewidth=0.6,
        )
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[], xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
        ax.spines[["top", "right"]].set_visible(True)
    return figure


def draw_paper_against_clock(points: Mapping[str, tuple[float, float]], reference: str) -> Figure:
    """Multiply-adds on paper against measured time; on the dotted line time would follow from multiply-adds.

    Args:
        points: name -> (millions of multiply-adds, milliseconds).
        reference: the name through whose point the dotted line goes.
    """
    figure, ax = plt.subplots(figsize=(7.0, 3.8))
    counts = np.array([count for count, _ in points.values()])
    times = np.array([time for _, time in points.values()])
    ends = np.array([counts.min() / 1.6, counts.max() * 1.6])
    count, time = points[reference]
    ax.plot(ends, time * ends / count, color=INK, linestyle=":", linewidth=1.2, zorder=1)
    styles = zip(points.items(), "osD^vP*Xph", [*PALETTE.values(), INK, *PALETTE.values()])
    for (name, (count, time)), marker, colour in styles:
        ax.plot(count, time, marker, markersize=9, color=colour, label=name, linestyle="none")
    ax.set(xscale="log", yscale="log", xlabel="millions of multiply-adds", ylabel="milliseconds")
    ax.set_ylim(times.min() / 2, times.max() * 2)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    figure.legend(loc="outside right center")
    return figure
