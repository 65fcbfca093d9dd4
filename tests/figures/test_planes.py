from matplotlib.patches import Polygon

from stitchwork import figures


def faces(channels: int, height: int, width: int) -> int:
    """Unit cells on the three visible faces of a box."""
    return height * width + channels * width + channels * height


def test_gates_have_the_shapes_of_the_modules():
    c, h, w = 4, 3, 5
    axes = figures.draw_planes(c, h, w).axes
    drawn = [sum(isinstance(patch, Polygon) for patch in ax.patches) for ax in axes]
    box, channel, plane = faces(c, h, w), faces(c, 1, 1), faces(1, h, w)
    row, column = faces(c, h, 1), faces(c, 1, w)
    assert drawn == [
        box + 2 * (channel + plane),
        box + 2 * (row + column),
        box + 2 * (row + column + plane),
        box + faces(c // 2, h, 1) + faces(c // 2, 1, w) + faces(c // 2, h, w) + plane,
        box + 2 * (faces(c // 2, 1, 1) + faces(c // 2, h, w)),
        4 * box,
        3 * box + channel,
    ]


def test_labels_do_not_cover_each_other_and_every_block_is_named():
    figure = figures.draw_planes()
    figure.canvas.draw()
    names = {text.get_text().split("\n")[0] for ax in figure.axes for text in ax.texts}
    assert {"CBAM", "CoordAtt", "Triplet", "EMA", "Shuffle", "GAM", "SimAM"} <= names
    for ax in figure.axes:
        boxes = [(text.get_text(), text.get_window_extent()) for text in ax.texts if text.get_text()]
        for number, (one, box) in enumerate(boxes):
            assert not [f"{one} / {other}" for other, its in boxes[number + 1 :] if box.overlaps(its)]
