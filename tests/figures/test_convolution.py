"""The drawings of the chapter on convolutions show the numbers that they are given."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from stitchwork import figures
from stitchwork.figures import PALETTE


def pixels(ax, colour: str) -> int:
    """How many little squares of a colour an axis has."""
    return sum(to_hex(p.get_facecolor()).upper() == colour.upper() for p in ax.patches)


def drawings():
    g = np.random.default_rng(0)
    spiral = g.normal(size=(9, 2))
    interval = ([0.1, 0.2], (0.15, 0.1, 0.2))
    return {
        "reads": lambda: figures.draw_what_one_output_reads(),
        "kernels": lambda: figures.draw_kernels({"dense": g.normal(size=(2, 3, 3, 3))}),
        "positions": lambda: figures.draw_kernel_positions(5),
        "support": lambda: figures.draw_support({"a": np.eye(4), "b": np.eye(4)}, label="weight"),
        "costs": lambda: figures.draw_costs({"a": {"x": 1, "y": 2}}, "millions"),
        "curves": lambda: figures.draw_curves([1, 2], {"a": [1, 2], "~b": [2, 2]}, "x", "y"),
        "bottlenecks": lambda: figures.draw_bottlenecks({"a": [8, 2, 2, 8], "b": [2, 8, 8, 2]}, ["1", "3", "1"]),
        "spirals": lambda: figures.draw_spirals(
            {"way": {"n": spiral, "m": spiral}}, {"n": spiral[:, 0] > 0, "m": spiral[:, 0] > 9}
        ),
        "responses": lambda: figures.draw_responses(g.random((3, 8, 8)), {"a": g.normal(size=(8, 8))}),
        "roofline": lambda: figures.draw_roofline({"a": (1.0, 1e9), "b": (50.0, 4e10)}, 5e10, 1e10),
        "intervals": lambda: figures.draw_intervals({"a": interval, "b": interval}, "error", marks=[0.1]),
    }


@pytest.mark.parametrize("name", drawings())
def test_every_drawing_is_opaque_and_its_text_is_legible(name):
    figure = drawings()[name]()
    figure.canvas.draw()
    assert figure.get_facecolor() == (1, 1, 1, 1)
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    assert texts
    assert min(t.get_fontsize() for t in texts) >= 9


def test_one_output_reads_a_window_in_all_channels_in_one_or_a_pixel_in_all():
    figure = figures.draw_what_one_output_reads(channels=3, size=7, kernel_size=5)
    dense, depthwise, pointwise = figure.axes
    assert pixels(dense, PALETTE["blue"]) == 3 * 25
    assert pixels(depthwise, PALETTE["green"]) == 25
    assert pixels(pointwise, PALETTE["orange"]) == 3
    assert all(pixels(ax, PALETTE["vermilion"]) == 1 for ax in figure.axes)


def test_kernel_cells_lie_at_row_out_and_column_in():
    kernel = np.zeros((2, 3, 3, 3))
    kernel[1, 2, 0, 1] = 5.0
    (ax,) = figures.draw_kernels({"one": kernel}).axes
    picture = ax.images[0].get_array()
    assert picture.shape == (2 * 3, 3 * 3)
    assert np.argwhere(picture).tolist() == [[1 * 3 + 0, 2 * 3 + 1]]


@pytest.mark.parametrize(
    ("size", "k", "stride", "padding"), [(6, 3, 1, 1), (6, 3, 2, 1), (7, 3, 2, 1), (8, 5, 3, 2), (6, 3, 1, 0)]
)
def test_the_kernel_stops_as_often_as_a_convolution_has_outputs(size, k, stride, padding):
    (ax,) = figures.draw_kernel_positions(size, k, strides=(stride,), padding=padding).axes
    stops = ax.collections[0].get_offsets()
    outputs = torch.nn.Conv2d(1, 1, k, stride, padding)(torch.zeros(1, 1, size, size))
    assert len(stops) == outputs.numel()
    assert stops.min() == k / 2 - padding
    frames = [p for p in ax.patches if isinstance(p, Rectangle) and not p.get_fill()]
    assert frames[1].get_x() - frames[0].get_x() == stride


def test_support_leaves_nothing_white_and_has_a_bar_only_with_a_label():
    values = np.array([[0.0, 0.5], [1.0, 0.0]])
    plain = figures.draw_support({"a": values})
    assert plain.axes[0].images[0].get_array().mask.tolist() == [[True, False], [False, True]]
    assert len(figures.draw_support({"a": values}, label="weight").axes) == len(plain.axes) + 1


def test_bars_of_costs_are_stacked():
    (ax,) = figures.draw_costs({"a": {"x": 1, "y": 2}, "b": {"x": 4, "y": 8}}, "millions").axes
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bars in ax.containers for bar in bars]
    assert ends == [(0, 1), (0, 4), (1, 3), (4, 12)]


def test_a_curve_with_a_tilde_is_dashed_and_loses_it():
    figure = figures.draw_curves([1, 10], {"measured": [3, 4], "~limit": [9, 9]}, "x", "y")
    measured, limit = figure.axes[0].get_lines()
    assert (measured.get_linestyle(), limit.get_linestyle()) == ("-", "--")
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["measured", "limit"]
    assert measured.get_ydata().tolist() == [3, 4]


def test_a_bottleneck_is_as_tall_as_its_channels():
    figure = figures.draw_bottlenecks({"a": [8, 2, 2, 8]}, ["1×1", "3×3", "1×1"])
    *bars, shortcut = figure.axes[0].get_lines()
    assert [np.ptp(bar.get_ydata()) for bar in bars] == [8, 2, 2, 8]
    assert [shortcut.get_xdata()[0], shortcut.get_xdata()[-1]] == [0, 3]


def test_lost_points_are_crosses_and_the_others_keep_their_colour_along_the_curve():
    points = np.arange(10.0).reshape(5, 2) / 10
    lost = np.array([True, False, False, True, False])
    figure = figures.draw_spirals({"way": {"n": points}}, {"n": lost})
    kept, crosses = figure.axes[0].collections
    np.testing.assert_array_equal(kept.get_offsets(), points[~lost])
    np.testing.assert_array_equal(crosses.get_offsets(), points[lost])
    np.testing.assert_array_equal(kept.get_array(), [0.25, 0.5, 1.0])


def test_responses_share_a_scale_that_is_symmetric():
    figure = figures.draw_responses(np.zeros((3, 4, 4)), {"a": np.full((4, 4), -2.0), "b": np.full((4, 4), 1.0)})
    limits = {ax.images[0].get_clim() for ax in figure.axes[1:3]}
    ((low, high),) = limits
    assert low == -high == -2.0


def test_the_roof_is_the_lower_of_the_two_limits():
    (ax,) = figures.draw_roofline({"a": (1.0, 1e9), "b": (50.0, 4e10)}, peak=5e10, bandwidth=1e10).axes
    roof, _, *points = ax.get_lines()
    x, y = roof.get_data()
    np.testing.assert_allclose(y, np.where(x < 5, 10 * x, 50))
    assert [(p.get_xdata()[0], p.get_ydata()[0]) for p in points] == [(1.0, 1.0), (50.0, 40.0)]


def test_intervals_show_every_seed_the_mean_and_the_ends():
    results = {"a": ([1.0, 3.0, 2.0], (2.0, 0.5, 3.5)), "b": ([5.0, 6.0], (5.5, 5.0, 6.0))}
    (ax,) = figures.draw_intervals(results, "error", marks=[1.5]).axes
    dots_a, dots_b, marks = ax.collections
    assert dots_a.get_offsets()[:, 0].tolist() == [1.0, 3.0, 2.0]
    assert dots_b.get_offsets()[:, 1].tolist() == [1, 1]
    assert marks.get_offsets()[:, 0].tolist() == [1.5]
    bar, mean = ax.get_lines()[:2]
    assert list(bar.get_xdata()) == [0.5, 3.5]
    assert list(mean.get_xdata()) == [2.0, 2.0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def test_intervals_have_a_line_for_each_of_many_methods():
    results = {f"method {i}": ([i, i + 1.0], (i + 0.5, i, i + 1.0)) for i in range(9)}  # more than there are colours
    (ax,) = figures.draw_intervals(results, "error").axes
    assert len(ax.collections) == len(ax.get_yticks()) == 9
