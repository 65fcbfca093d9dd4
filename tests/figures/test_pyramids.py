import numpy as np

from stitchwork.figures import draw_cells, draw_errors_by_size


def test_a_grid_has_a_line_at_each_border_of_a_cell():
    figure = draw_cells({"one": (np.zeros((3, 8, 8)), (4,)), "two": (np.zeros((3, 8, 8)), (2, 4))})
    assert [ax.get_title() for ax in figure.axes] == ["one", "two"]
    one, two = figure.axes
    assert len(one.lines) == 2 * 5 and len(two.lines) == 2 * (3 + 5)
    upright = sorted(line.get_xdata()[0] for line in one.lines if line.get_xdata()[0] == line.get_xdata()[1])
    assert upright == [0, 0.25, 0.5, 0.75, 1]
    bold, fine = two.lines[0], two.lines[-1]
    assert bold.get_linewidth() > fine.get_linewidth() and bold.get_color() != fine.get_color()


def test_every_seed_is_a_dot_and_the_prediction_is_dashed():
    errors = {"a": {1: [0.5, 0.7], 2: [0.1, 0.1]}, "b": {1: [1.0, 1.0], 2: [0.4, 0.6]}}
    figure = draw_errors_by_size(errors, {"b": (0.9, 0.5)}, "side", "error")
    a, b = figure.axes
    assert [len(points.get_offsets()) for points in a.collections] == [2, 2]
    (mean,) = a.lines
    assert np.allclose(mean.get_ydata(), [0.6, 0.1])
    assert [line.get_linestyle() for line in b.lines] == ["-", "--"]
    assert list(b.lines[1].get_ydata()) == [0.9, 0.5]
    assert [label.get_text() for label in b.get_xticklabels()] == ["1", "2"]
    assert a.get_ylim() == b.get_ylim() and a.get_ylim()[1] > 1  # nothing is cut off
