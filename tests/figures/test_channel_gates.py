import numpy as np
from matplotlib.colors import to_rgba

from stitchwork import figures
from stitchwork.figures import PALETTE


def test_the_wiring_has_a_line_for_each_connection():
    channels, hidden = 6, 2
    se, eca, fca = figures.draw_gate_wiring(channels, hidden, kernel_size=3).axes
    assert len(se.lines) == len(fca.lines) == 2 * channels * hidden
    assert len(eca.lines) == 3 * channels - 2  # the two ends have a neighbour less


def test_only_fcanet_sums_up_by_several_pictures():
    axes = figures.draw_gate_wiring(8).axes
    assert [len({image.get_array().tobytes() for image in ax.images}) for ax in axes] == [1, 1, 4]


def test_frequencies_mark_the_chosen_ones_in_their_order():
    basis = np.arange(4 * 9, dtype=float).reshape(2, 2, 3, 3) + 1
    figure = figures.draw_frequencies(basis, [(1, 0), (0, 1)])
    marked = {number: ax for number, ax in enumerate(figure.axes) if ax.texts}
    assert {number: ax.texts[0].get_text() for number, ax in marked.items()} == {1: "2", 2: "1"}
    assert [ax.spines["left"].get_visible() for ax in figure.axes] == [False, True, True, False]
    assert marked[1].spines["left"].get_edgecolor() == to_rgba(PALETTE["orange"])


def test_matrices_keep_zero_in_the_middle():
    one, two = figures.draw_matrices({"a": np.array([[1.0, -3.0]]), "b": np.eye(2)}, "from", "to").axes
    assert one.images[0].get_clim() == (-3, 3) and two.images[0].get_clim() == (-1, 1)
    assert one.get_ylabel() == "to" and two.get_xlabel() == "from" and two.get_title() == "b"
