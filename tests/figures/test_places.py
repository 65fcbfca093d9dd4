from stitchwork import figures


def test_every_place_has_its_number():
    figures.use_house_style()
    block, u = figures.draw_places().axes
    assert [text.get_text() for text in block.texts if text.get_text().isdigit()] == ["1", "2", "3", "4"]
    assert sorted(text.get_text() for text in u.texts if text.get_text().isdigit()) == ["5", "6", "6", "7", "7"]
