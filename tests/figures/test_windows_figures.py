import numpy as np
import pytest

from stitchwork.figures import draw_curve_panels, draw_offsets, draw_pairs, draw_regions


def lines(ax) -> list[float]:
    """Where dark lines cut the columns of a panel."""
    return sorted({line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1})


def test_every_pixel_bears_the_letter_of_its_region():
    whole = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    figure = draw_regions({"still": (whole, 0), "moved": (np.roll(whole, 1, 1), 1)}, window=2)
    still, moved = figure.axes
    assert [text.get_text() for text in still.texts] == list("AABBAABB")
    assert [text.get_text() for text in moved.texts] == list("BAABBAAB")
    assert 1.5 in lines(still) and {0.5, 2.5} <= set(lines(moved))


def test_a_query_sees_the_part_of_the_table_that_its_rectangle_shows():
    table = np.arange(25.0).reshape(5, 5)
    figure = draw_offsets(table, {(0, 0): table[:3, :3][::-1, ::-1], (1, 2): table[1:4, 2:][::-1, ::-1]})
    whole, first, second = figure.axes
    assert [patch.get_xy() for patch in whole.patches] == [(-0.5, -0.5), (1.5, 0.5)]
    assert [patch.get_width() for patch in whole.patches] == [3, 3]
    assert (first.get_title(), second.get_title()) == ("query (0, 0)", "query (1, 2)")
    assert second.lines[0].get_xdata()[0] == 2 and second.lines[0].get_ydata()[0] == 1


def test_a_pair_that_a_border_parts_is_dashed():
    figure = draw_pairs({"one": [(0, 0, 1, 1), (1, 1, 1, 2)]}, size=4, window=2)
    pairs = [line for line in figure.axes[0].lines if line.get_marker() == "s"]
    assert [line.get_linestyle() for line in pairs] == ["-", "--"]
    assert list(pairs[1].get_xdata()) == [1, 2] and list(pairs[1].get_ydata()) == [1, 1]


@pytest.mark.parametrize("count", [1, 5])
def test_every_curve_has_its_panel_and_its_limit(count):
    names = [f"curve {k}" for k in range(count)]
    curve, limit = ([0.5, 0.6], [0.4, 0.5], [0.6, 0.7]), [0.1, 0.2]
    figure = draw_curve_panels(
        [1, 2], dict.fromkeys(names, curve), dict.fromkeys(names, limit), "distance", "error", "possible", columns=3
    )
    used = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title() for ax in used] == names
    for ax in used:
        measured, possible = ax.lines
        assert list(measured.get_ydata()) == curve[0] and list(possible.get_ydata()) == limit
        assert possible.get_linestyle() == "--"
