import pytest
from matplotlib.colors import to_rgba

from stitchwork.figures import PALETTE, draw_unfolding


@pytest.mark.parametrize(("height", "width", "patch"), [(4, 6, 2), (6, 6, 3), (4, 4, 1)])
def test_sequences_are_the_pixels_of_one_place(height, width, patch):
    left, right = draw_unfolding(height, width, patch).axes
    numbers = [[t for t in ax.texts if t.get_text().isdigit()] for ax in (left, right)]
    for texts in numbers:
        assert sorted(int(t.get_text()) for t in texts) == list(range(height * width))
    for text in numbers[1]:
        row, column = divmod(int(text.get_text()), width)
        token, line = int(text.get_position()[0]), int(text.get_position()[1] / 1.6)
        assert line == row % patch * patch + column % patch
        assert token == row // patch * (width // patch) + column // patch
    assert [t.get_text() for t in right.texts if not t.get_text().isdigit()] == [
        f"place {place}" for place in range(patch**2)
    ]


def test_a_place_has_one_colour_and_patches_have_frames():
    left, right = draw_unfolding(4, 6).axes
    frames = [p for p in left.patches if not p.get_fill()]
    assert {p.get_xy() for p in frames} == {(x, y) for x in (0, 2, 4) for y in (0, 2)}
    assert {(p.get_width(), p.get_height()) for p in frames} == {(2, 2)}
    pixels = [p for p in left.patches if p.get_fill()]
    for p in pixels:
        x, y = p.get_xy()
        assert p.get_facecolor() == to_rgba(list(PALETTE.values())[int(y % 2 * 2 + x % 2)])
    assert len({p.get_facecolor() for p in right.patches}) == 4


def test_patches_must_fit():
    with pytest.raises(ValueError, match="2 x 2 do not fit into 4 x 5"):
        draw_unfolding(4, 5)
