import matplotlib.colors as colours

from stitchwork.figures import PALETTE, draw_skips


def arrows(ax, colour):
    """Start and end of the arrows of a colour."""
    wanted = colours.to_rgba(PALETTE[colour])
    found = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    return [(tuple(a.xyann), tuple(a.xy)) for a in found if a.arrow_patch.get_edgecolor() == wanted]


def labels(ax):
    return {text.get_text() for text in ax.texts} - {""}


def test_a_skip_joins_maps_of_one_size_and_the_way_up_climbs_one():
    plain, gated, nested = draw_skips().axes
    for ax, skips, ups in ((plain, 3, 3), (gated, 3, 3), (nested, 3 + 2 + 1 + 2 + 1 + 1, 6)):
        across = arrows(ax, "grey")
        assert len(across) == skips and all(start[1] == end[1] for start, end in across)
        climbing = arrows(ax, "green")
        assert len(climbing) == ups and all(end[1] - start[1] == 1 for start, end in climbing)


def test_a_map_of_unet_plus_plus_gets_all_before_it_in_its_row():
    *_, nested = draw_skips().axes
    assert labels(nested) == {f"{i},{j}" for i in range(4) for j in range(4 - i)}
    into_last = [start for start, end in arrows(nested, "grey") if end == (6, 0)]
    assert sorted(into_last) == [(0, 0), (2, 0), (4, 0)]


def test_only_the_attention_unet_has_gates():
    plain, gated, nested = draw_skips().axes
    assert [len(arrows(ax, "vermilion")) for ax in (plain, gated, nested)] == [0, 3, 0]
    assert labels(plain) == labels(gated) == {"0,0", "1,0", "2,0", "3,0", "2,1", "1,2", "0,3"}
