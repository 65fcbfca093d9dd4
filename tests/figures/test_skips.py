import matplotlib.colors as colours

from stitchwork.figures import PALETTE, draw_skips


def arrows(ax, colour):
    """Start and end of the arrows of a colour."""
    wanted = colours.to_rgba(PALETTE[colour])
    found = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    return [(tuple(a.xyann), tuple(a.xy)) for a in found if a.arrow_patch.get_edgecolor() == wanted]


def nodes(ax):
    """Place and colour of the disks by what is written in them."""
    disks = [text for text in ax.texts if text.get_text()]
    return {disk.get_text(): (disk.get_position(), disk.get_bbox_patch().get_facecolor()) for disk in disks}


def test_a_map_lies_at_its_size_and_two_steps_to_the_right_for_each_one_across():
    for ax in draw_skips().axes:
        for name, (place, colour) in nodes(ax).items():
            i, j = map(int, name.split(","))
            assert place == (i + 2 * j, -i)
            assert colour == colours.to_rgba(PALETTE["green" if j else "blue"])


def test_the_way_down_has_an_arrow_from_each_size_to_the_next():
    for ax in draw_skips().axes:
        assert sorted(arrows(ax, "blue")) == [((0, 0), (1, -1)), ((1, -1), (2, -2)), ((2, -2), (3, -3))]


def test_a_skip_joins_maps_of_one_size_and_the_way_up_climbs_one():
    plain, gated, nested = draw_skips().axes
    for ax, skips, ups in ((plain, 3, 3), (gated, 3, 3), (nested, 3 + 2 + 1 + 2 + 1 + 1, 6)):
        across = arrows(ax, "grey")
        assert len(across) == skips and all(start[1] == end[1] for start, end in across)
        climbing = arrows(ax, "green")
        assert len(climbing) == ups and all(end[1] - start[1] == 1 for start, end in climbing)


def test_a_map_of_unet_plus_plus_gets_all_before_it_in_its_row():
    *_, nested = draw_skips().axes
    assert set(nodes(nested)) == {f"{i},{j}" for i in range(4) for j in range(4 - i)}
    into_last = [start for start, end in arrows(nested, "grey") if end == (6, 0)]
    assert sorted(into_last) == [(0, 0), (2, 0), (4, 0)]


def test_only_the_attention_unet_has_gates():
    plain, gated, nested = draw_skips().axes
    assert [len(arrows(ax, "vermilion")) for ax in (plain, gated, nested)] == [0, 3, 0]
    for asks, gate in arrows(gated, "vermilion"):  # the decoder's map from below opens it, half-way along the skip
        assert asks in [start for start, _ in arrows(gated, "green")] and asks[1] == gate[1] - 1
        assert gate in [((a[0] + b[0]) / 2, a[1]) for a, b in arrows(gated, "grey")]
    assert set(nodes(plain)) == set(nodes(gated)) == {"0,0", "1,0", "2,0", "3,0", "2,1", "1,2", "0,3"}
