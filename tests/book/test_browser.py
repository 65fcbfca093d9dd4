"""The book in a real browser: nothing from elsewhere, formulas typeset, both themes, a phone, accessibility, search."""

from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect


def test_nothing_goes_wrong_and_nothing_comes_from_elsewhere(visit, site, page_name):
    seen = visit(page_name)
    assert seen.console == []
    assert seen.failed == []
    assert [url for url in seen.requests if not url.startswith((site, "data:", "blob:"))] == []


def test_every_formula_is_typeset(visit, page_name):
    seen = visit(page_name)
    assert seen.typeset >= seen.formulas


def test_some_formulas_are_counted(visit):
    assert visit("book/notation").formulas > 20


def test_looking_can_find_faults(look, tmp_path):
    (tmp_path / "bad.html").write_text(
        """<html><head><title>Bad</title><script src="http://127.0.0.1:9/cdn.js"></script></head><body>
        <p style="color: #999; background: #aaa">Hard to read</p><img src="lost.png">
        <span class="math">\\(x\\)</span><div style="width: 900px">Wide</div><script>undefinedFunction()</script>
        </body></html>"""
    )
    seen = look((tmp_path / "bad.html").as_uri())
    assert any("undefinedFunction" in text for text in seen.console)
    assert any("lost.png" in url for url in seen.failed)
    assert "http://127.0.0.1:9/cdn.js" in seen.requests
    assert (seen.formulas, seen.typeset) == (1, 0)
    assert seen.phone_width >= 900
    assert seen.background["light"] == seen.background["dark"]
    expected = {"light": "color-contrast", "dark": "color-contrast", "desktop": "image-alt", "phone": "image-alt"}
    for setting, rule in expected.items():
        assert rule in {complaint.partition(":")[0] for complaint in seen.violations[setting]}


def test_light_and_dark_differ(visit, page_name):
    background = visit(page_name).background
    assert background["light"] != background["dark"]


@pytest.mark.parametrize("setting", ["light", "dark", "desktop", "phone"])
def test_axe_finds_nothing_serious(visit, page_name, setting):
    assert visit(page_name).violations[setting] == []


def test_no_sideways_scrolling_on_a_phone(visit, page_name):
    assert visit(page_name).phone_width <= 360


@pytest.mark.parametrize(
    ("term", "page"),
    [("inverted residual", "glossary.html"), ("通道注意力", "glossary.html"), ("fingerprint", "notation.html")],
)
def test_search_finds(browser: Browser, site, term, page):
    tab = browser.new_page()
    tab.goto(f"{site}/search.html?q={quote(term)}")
    expect(tab.locator(f"#search-results a[href*='{page}']").first).to_be_visible(timeout=20_000)
    tab.close()


def test_the_theme_button_switches_and_is_remembered(browser: Browser, site):
    tab = browser.new_page(color_scheme="light")
    tab.goto(f"{site}/book/welcome.html")
    for _ in range(3):  # automatic, light, dark: three clicks pass through all of them
        if tab.locator("html").get_attribute("data-theme") == "dark":
            break
        tab.locator("button.theme-switch-button:visible").first.click()
    expect(tab.locator("html")).to_have_attribute("data-theme", "dark")
    tab.goto(f"{site}/book/notation.html")
    expect(tab.locator("html")).to_have_attribute("data-theme", "dark")
    tab.close()


def test_the_catalogue_filters_and_sorts(browser: Browser, site):
    tab = browser.new_page()
    tab.goto(f"{site}/book/catalogue.html")
    rows = tab.locator("table.catalogue tbody tr")
    everything = rows.count()
    field = tab.get_by_label("Filter:")
    field.fill("resnet50")
    expect(rows.filter(has_not_text="resnet50")).to_have_count(0)
    assert 0 < rows.count() < everything
    field.fill("")
    heading = tab.locator("table.catalogue thead th", has_text="Parameters")

    def parameters() -> list[int]:
        return [
            int(text.replace(",", ""))
            for text in tab.locator("table.catalogue tbody td:nth-child(5)").all_inner_texts()
        ]

    before = sorted(parameters())
    for order in (before, before[::-1]):
        heading.click()
        expect(rows.first.locator("td").nth(4)).to_have_text(f"{order[0]:,}")
        assert parameters() == order
    tab.close()
