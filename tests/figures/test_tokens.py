import numpy as np
from matplotlib.colors import to_hex

from stitchwork.figures import PALETTE, draw_moves, draw_stages, draw_statistics


def test_who_stays_has_no_arrow():
    stays, moves = ((1.0, 1.0), (1.0, 1.0)), ((1.0, 1.0), (2.0, 0.0))
    panels = {"alone": {"a b": {"a": stays, "b": stays}}, "together": {"a b": {"a": moves, "b": stays}}}
    figure = draw_moves(panels, ("water", "money"))
    arrows = [[text for text in ax.texts if getattr(text, "arrow_patch", None)] for ax in figure.axes]
    assert [len(found) for found in arrows] == [0, 1]
    assert arrows[1][0].xy == (2.0, 0.0) and arrows[1][0].get_position() == (1.0, 1.0)
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a b"]


def test_every_number_is_written_on_its_colour():
    matrix = np.array([[0.0, 1.0, -0.5], [0.25, -1.0, 0.125]])
    figure = draw_stages({"scores": (matrix, "xyz"), "result": (np.ones((2, 1)), ["r"])}, ["first", "second"])
    left, right = figure.axes
    assert [text.get_text() for text in left.texts] == ["0.00", "1.00", "-0.50", "0.25", "-1.00", "0.12"]
    assert [text.get_color() == "white" for text in left.texts] == [False, True, False, False, True, False]
    assert [label.get_text() for label in left.get_xticklabels()] == ["x", "y", "z"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["first", "second"]
    assert left.images[0].get_clim() == (-1, 1) and right.get_title() == "result"


def test_what_counts_is_blue_and_the_one_is_marked():
    counts = np.zeros((2, 3, 4), dtype=bool)
    counts[1, 2] = True
    (ax,) = draw_statistics({"one": counts}, (1, 2, 3)).axes
    blue = [patch for patch in ax.patches if to_hex(patch.get_facecolor()).upper() == PALETTE["blue"]]
    assert len(ax.patches) == 24 and len(blue) == 4
    assert all(patch.get_y() == 2 and patch.get_x() >= 4.8 for patch in blue)
    (mark,) = ax.lines
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (4.8 + 3.5, 2.5)
