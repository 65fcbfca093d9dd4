from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from stitchwork import figures


def test_scaled_networks_have_a_slab_for_each_block():
    networks = {"base": ((1, 2), (8, 16), 32), "wide": ((1, 2), (16, 32), 32), "deep": ((3, 1), (8, 16), 32)}
    axes = figures.draw_scaled_networks(networks).axes
    assert [ax.get_title() for ax in axes] == list(networks)
    for ax, (depths, widths, resolution) in zip(axes, networks.values()):
        slabs = [(p.get_width(), p.get_height()) for p in ax.patches if isinstance(p, Rectangle)]
        expected = [
            (width, resolution / 2**stage)
            for stage, (depth, width) in enumerate(zip(depths, widths))
            for _ in range(depth)
        ]
        assert slabs == expected
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        for patch in ax.patches:
            assert left <= patch.get_x() and patch.get_x() + patch.get_width() <= right
            assert bottom <= patch.get_y() and patch.get_y() + patch.get_height() <= top
    assert len({ax.get_xlim() for ax in axes}) == len({ax.get_ylim() for ax in axes}) == 1


def test_shares_are_where_they_belong_and_the_best_has_a_ring():
    values = {(1, 0, 0): 0.2, (0, 1, 0): 0.5, (0, 0, 1): 0.4, (0, 0.5, 0.5): 0.7}
    ax = figures.draw_shares(values, ("depth", "width", "resolution"), "share").axes[0]
    dots, ring = ax.collections
    assert dots.get_offsets().tolist() == [[0.5, 3**0.5 / 2], [0, 0], [1, 0], [0.5, 0]]
    assert ring.get_offsets().tolist() == [[0.5, 0]]
    assert tuple(ring.get_edgecolor()[0]) == to_rgba(figures.PALETTE["vermilion"])
    words = [text.get_text() for text in ax.texts]
    assert words == ["0.20", "0.50", "0.40", "0.70", "depth", "width", "resolution"]
