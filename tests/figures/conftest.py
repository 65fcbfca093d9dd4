"""Figures are drawn without a screen, in the house style, and closed again."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from stitchwork import figures


@pytest.fixture(autouse=True)
def house_style():
    """The house style during a test."""
    with matplotlib.rc_context():
        figures.use_house_style()
        yield
    plt.close("all")
