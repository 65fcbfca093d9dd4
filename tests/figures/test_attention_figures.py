import numpy as np
from matplotlib.patches import Polygon

from stitchwork import figures


def cells(ax) -> int:
    return sum(isinstance(patch, Polygon) for patch in ax.patches)


def faces(channels: int, height: int, width: int) -> int:
    """Unit cells on the three visible faces of a box."""
    return height * width + channels * width + channels * height


def words(figure) -> str:
    return " ".join(text.get_text() for ax in figure.axes for text in ax.texts)


def test_summaries_have_the_shapes_of_the_gates():
    c, h, w = 3, 4, 5
    axes = figures.draw_summaries(c, h, w).axes
    features, channel, plane = faces(c, h, w), faces(c, 1, 1), faces(1, h, w)
    rows, columns = faces(c, h, 1), faces(c, 1, w)
    assert [cells(ax) for ax in axes] == [
        features + 2 * channel,
        features + 3 * channel,
        features + 3 * plane,
        features + 2 * (rows + columns),
    ]


def test_summaries_name_every_block():
    text = words(figures.draw_summaries())
    assert all(name in text for name in ("SE", "CBAM", "CoordAtt", "mean", "max"))


def overlapping(figure) -> list[str]:
    """Pairs of texts in one axes that cover each other."""
    figure.canvas.draw()
    found = []
    for ax in figure.axes:
        boxes = [(text.get_text(), text.get_window_extent()) for text in ax.texts if text.get_text()]
        for number, (one, box) in enumerate(boxes):
            found += [f"{one} / {other}" for other, its_box in boxes[number + 1 :] if box.overlaps(its_box)]
    return found


def test_labels_of_the_summaries_do_not_cover_each_other():
    assert overlapping(figures.draw_summaries()) == []


def test_images_of_a_row_share_their_scale():
    dark, bright = np.zeros((4, 6)), np.full((4, 6), 3.0)
    figure = figures.draw_images({"a": {"dark": dark, "bright": bright}, "b": {"half": bright / 2}})
    shown = [ax.images[0] for ax in figure.axes if ax.images]
    assert [image.get_clim() for image in shown[:2]] == [(0, 3), (0, 3)]
    assert [ax.get_title() for ax in figure.axes if ax.images] == ["dark", "bright", "half"]
    assert [ax.get_ylabel() for ax in figure.axes if ax.images][::2] == ["a", "b"]


def test_a_symmetric_scale_has_zero_in_the_middle():
    figure = figures.draw_images({"": {"one": np.array([[-1.0, 4.0]]), "two": np.array([[0.0, 2.0]])}}, symmetric=True)
    assert [ax.images[0].get_clim() for ax in figure.axes] == [(-4, 4), (-4, 4)]


def test_colour_images_do_not_move_the_scale_of_grey():
    figure = figures.draw_images({"": {"photo": np.ones((2, 2, 3)), "gate": np.array([[0.2, 0.4], [0.3, 0.3]])}})
    assert figure.axes[1].images[0].get_clim() == (0.2, 0.4)


def test_colour_images_alone():
    figure = figures.draw_images({"": {"one": np.zeros((2, 2, 3)), "two": np.ones((2, 2, 3))}})
    assert [ax.images[0].get_array().max() for ax in figure.axes] == [0, 1]


def test_channel_gates_are_drawn_at_their_values():
    gates = {"one": [0.1, 0.9, 0.5], "two": [0.3, 0.2, 0.5]}
    figure = figures.draw_channel_gates(gates)
    (ax,) = figure.axes
    drawn = [c.get_offsets() for c in ax.collections if len(c.get_offsets()) == 3]
    assert [offsets[:, 1].tolist() for offsets in drawn] == list(gates.values())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(gates)


def test_row_gates_run_down_and_column_gates_run_right():
    image, rows, columns = np.zeros((4, 6)), np.array([0.1, 0.2, 0.3, 0.9]), np.linspace(0, 1, 6)
    picture, side, below, _ = figures.draw_row_and_column_gates({"a": (image, rows, columns)}).axes
    assert side.lines[0].get_xdata().tolist() == rows.tolist()
    assert side.get_ylim() == (3.5, -0.5)  # the first row is at the top, as in the image
    assert below.lines[0].get_ydata().tolist() == columns.tolist()
    assert picture.get_title() == "a"
