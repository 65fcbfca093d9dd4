import numpy as np

from stitchwork.figures import draw_line_panels


def test_every_panel_has_its_lines_on_the_same_axes():
    panels = {name: {"small": [1, 2, 3], "large": [0.1 * k, 0.2, 0.3]} for k, name in enumerate("abcde", 1)}
    figure = draw_line_panels([0.1, 0.5, 0.9], panels, "p", "gradient", columns=4)
    shown = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title() for ax in shown] == list("abcde") and len(figure.axes) == 8
    for k, ax in enumerate(shown, 1):
        small, large = ax.lines
        assert np.allclose(small.get_ydata(), [1, 2, 3]) and np.isclose(large.get_ydata()[0], 0.1 * k)
        assert small.get_color() != large.get_color() and small.get_linestyle() != large.get_linestyle()
        assert ax.get_yscale() == "log" and ax.get_ylim() == shown[0].get_ylim() and ax.get_ylim()[0] == 1e-3
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("p", "gradient")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["small", "large"]
