from matplotlib.patches import Rectangle

from stitchwork import figures


def test_the_matrices_are_to_scale():
    n, d = 5.0, 2.0
    axes = figures.draw_association(n, d).axes
    drawn = [[(p.get_height(), p.get_width()) for p in ax.patches if isinstance(p, Rectangle)] for ax in axes]
    assert drawn == [
        [(n, d), (d, n), (n, n), (n, d), (n, d)],  # Q Kᵀ, (QKᵀ) V, Y
        [(d, n), (n, d), (n, d), (d, d), (n, d)],  # Kᵀ V, Q (KᵀV), Y
    ]


def test_nothing_covers_anything():
    for ax in figures.draw_association().axes:
        ax.figure.canvas.draw()
        for things in (ax.patches, ax.texts):
            boxes = [thing.get_window_extent() for thing in things if isinstance(thing, Rectangle) or thing.get_text()]
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
            assert all(b.x0 >= ax.bbox.x0 - 1 and b.x1 <= ax.bbox.x1 + 1 for b in boxes if things is ax.patches)
