import numpy as np

from stitchwork.figures import draw_patches


def test_the_row_shows_the_patches_of_the_image_and_counts_them():
    image = np.arange(3 * 8 * 12).reshape(3, 8, 12) / 288
    figure = draw_patches(image, 4, shown=3)
    whole, row = figure.axes
    assert len(whole.lines) == 1 + 2  # between 2 x 3 patches
    assert [text.get_text() for text in whole.texts] == ["1", "2", "3", "6"]
    pictures = [np.asarray(shown.get_array()) for shown in row.images]
    wanted = [image[:, :4, :4], image[:, :4, 4:8], image[:, :4, 8:], image[:, 4:, 8:]]
    assert all(np.array_equal(got, part.transpose(1, 2, 0)) for got, part in zip(pictures, wanted, strict=True))
    words = [text.get_text() for text in row.texts]
    assert {"class", "$+ p_0$", "$E x_{1}$", "$E x_{6}$", "head: logits"} <= set(words)
