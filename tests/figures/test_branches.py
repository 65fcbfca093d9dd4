from matplotlib.patches import FancyBboxPatch

from stitchwork import figures


def test_wirings_have_a_box_for_each_branch_the_join_and_what_chooses():
    wirings = {
        "chosen": (["near", "far"], "the mean", "sum"),
        "not chosen": (["near", "far", "all"], None, "mix"),
        "third": (["near"], "each pixel", "times x"),
    }
    axes = figures.draw_wirings(wirings).axes
    assert len(axes) == 4  # two columns; the last place is empty
    boxes = [[patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)] for ax in axes]
    assert [len(b) for b in boxes] == [2 + 1 + 1, 3 + 1, 1 + 1 + 1, 0]
    for ax, (title, (branches, chooser, join)) in zip(axes, wirings.items()):
        words = [text.get_text() for text in ax.texts if text.get_text()]
        assert sorted(words) == sorted([*branches, join, "x", "y", *([chooser] if chooser else [])])
        assert ax.get_title(loc="left") == title
        assert not ax.axison


def test_every_box_of_the_wirings_is_inside_its_panel():
    wirings = {"many": ([f"branch {i}" for i in range(6)], "the mean", "sum"), "one": (["only"], "a pixel", "sum")}
    for ax in figures.draw_wirings(wirings).axes:
        (left, right), (bottom, top) = ax.get_xlim(), sorted(ax.get_ylim())
        for patch in ax.patches:
            if isinstance(patch, FancyBboxPatch):
                box = patch.get_bbox()
                assert left <= box.x0 and box.x1 <= right and bottom <= box.y0 and box.y1 <= top
