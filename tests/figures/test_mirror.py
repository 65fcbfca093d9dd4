from stitchwork.figures import draw_mirror

DIMS, DEPTHS, ATTENDING = (40, 80, 192, 384), (5, 5, 15, 10), (0, 0, 6, 6)


def words(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_every_stage_is_there_twice_and_says_what_it_is():
    (ax,) = draw_mirror(DIMS, DEPTHS, ATTENDING).axes
    for stage, (dim, depth, count) in enumerate(zip(DIMS, DEPTHS, ATTENDING)):
        expected = f"{dim} × {56 // 2**stage}²\n{depth} blocks" + (f", {count} attend" if count else "")
        assert words(ax).count(expected) == 2


def test_the_map_shrinks_by_attention_once_and_grows_by_it_twice():
    (ax,) = draw_mirror(DIMS, DEPTHS, ATTENDING).axes
    joints = [(t.get_position(), t.get_text()) for t in ax.texts if t.get_text().startswith("3×3")]
    down = [text for (x, _), text in sorted(joints, key=lambda j: -j[0][1]) if x < 8]
    up = [text for (x, _), text in sorted(joints, key=lambda j: -j[0][1]) if x > 8]
    assert down == ["3×3", "3×3", "3×3 + attention"]
    assert up == ["3×3", "3×3 + attention", "3×3 + attention"]


def test_one_way_across_for_each_size():
    (ax,) = draw_mirror(DIMS, DEPTHS, ATTENDING).axes
    assert [line.get_ydata()[0] for line in ax.lines] == [0, -1, -2, -3]
