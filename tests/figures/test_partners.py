import numpy as np

from stitchwork.figures import draw_partners, draw_scores


def test_every_map_marks_the_pixel_and_leaves_nothing_white():
    maps = {"all": np.full((4, 6), 0.25), "one": np.eye(4, 6)}
    figure = draw_partners(maps, (1, 3), columns=3, photograph=np.zeros((3, 8, 12)))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["photograph", "all", "one"]
    for ax in figure.axes:
        (mark,) = ax.lines
        assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (3, 1)
    one = figure.axes[2].images[0].get_array()
    assert np.array_equal(np.ma.getmaskarray(one), np.eye(4, 6) == 0)
    assert figure.axes[1].images[0].get_array().min() == 1  # a scale of its own


def test_panels_that_are_left_over_are_empty():
    figure = draw_partners({str(k): np.ones((2, 2)) for k in range(4)}, (0, 0), columns=3)
    assert len(figure.axes) == 6 and sum(ax.axison for ax in figure.axes) == 4


def test_the_table_says_the_numbers():
    figure = draw_scores({"a": {"x": 0.0, "y": 1.0}, "b": {"x": 0.5, "y": 0.25}}, "error")
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == ["0.00", "1.00", "0.50", "0.25"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["x", "y"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    assert ax.texts[0].get_color() == "white" and ax.texts[1].get_color() == "black"
