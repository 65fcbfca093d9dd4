import numpy as np
import pytest

from stitchwork import figures


@pytest.mark.parametrize("line", [False, True])
def test_points_are_drawn_at_their_rows_and_columns(line):
    image = np.zeros((6, 9))
    rows, columns = [1.5, 2.0, 2.25], [3.0, 4.0, 7.5]
    figure = figures.draw_sampling_points({"a": (image, (2, 4), rows, columns), "b": (image, (0, 0), [], [])}, line)
    one, other = figure.axes
    pixel, points = one.lines
    assert one.get_title() == "a" and other.get_title() == "b"
    assert pixel.get_xydata().tolist() == [[4, 2]]  # column first: across, then down
    assert points.get_xydata().tolist() == [[3.0, 1.5], [4.0, 2.0], [7.5, 2.25]]
    assert points.get_linestyle() == ("-" if line else "None")
    assert one.get_ylim() == (5.5, -0.5) and one.get_xlim() == (-0.5, 8.5)  # row 0 at the top, points cannot zoom out
    assert other.lines[1].get_xydata().size == 0


def test_colour_images_can_be_drawn_on():
    figure = figures.draw_sampling_points({"a": (np.full((4, 4, 3), 0.5), (1, 1), [1], [2])})
    assert figure.axes[0].images[0].get_array().shape == (4, 4, 3)


def test_the_dotted_line_goes_through_the_reference():
    points = {"dense": (100.0, 4.0), "thin": (1.0, 2.0)}
    figure = figures.draw_paper_against_clock(points, "dense")
    line, *marks = figure.axes[0].lines
    x, y = line.get_xydata().T
    assert np.allclose(y / x, 4 / 100)
    assert [mark.get_xydata().tolist()[0] for mark in marks] == [[100, 4], [1, 2]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "thin"]


def test_no_two_of_ten_look_alike():
    figure = figures.draw_paper_against_clock({str(i): (10.0**i, 1.0) for i in range(10)}, "0")
    looks = {(mark.get_marker(), mark.get_color()) for mark in figure.axes[0].lines[1:]}
    assert len(looks) == 10
