import numpy
import pytest
import torch
from matplotlib.colors import to_rgb

from stitchwork.figures.overlays import COLOURS, Case, draw_cases, overlay


def test_colours_lie_on_the_image():
    image = torch.tensor([[[2.0, 4.0], [3.0, 2.0]]])
    labels = torch.tensor([[0, 0], [1, 2]])
    found = overlay(image, labels, opacity=0.25)
    assert found.shape == (2, 2, 3) and found.dtype == numpy.uint8
    assert found[0].tolist() == [[0] * 3, [255] * 3], "from black to white"
    for place, grey, colour in (((1, 0), 0.5, COLOURS[0]), ((1, 1), 0.0, COLOURS[1])):
        expected = [255 * (0.75 * grey + 0.25 * part) for part in to_rgb(colour)]
        assert found[place].tolist() == pytest.approx(expected, abs=1)


def test_each_of_synapses_organs_has_its_colour():
    found = overlay(torch.zeros(1, 1, 9), torch.arange(9)[None])
    assert len({tuple(pixel) for pixel in found[0].tolist()}) == 9
    assert all(max(pixel) - min(pixel) > 30 for pixel in found[0, 1:].tolist()), "a grey one is not seen on grey"


def test_colour_images_keep_theirs():
    image = torch.rand(3, 4, 5)
    image[0, 0, 0], image[1, 0, 0] = 0, 1
    found = overlay(image, torch.zeros(4, 5, dtype=torch.long))
    assert numpy.allclose(found / 255, image.movedim(0, -1), atol=1 / 255)


def test_a_row_for_each_case():
    image, labels = torch.rand(1, 8, 8), torch.randint(3, (8, 8))
    figure = draw_cases([Case(image, labels, labels, f"case {i}") for i in range(3)], ["liver", "spleen"])
    assert len(figure.axes) == 9
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["case 0", "case 1", "case 2"]
    truth, found = (ax.images[0].get_array() for ax in figure.axes[1:3])
    assert (truth == found).all() and (truth != figure.axes[0].images[0].get_array()).any()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["liver", "spleen"]
