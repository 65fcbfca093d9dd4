"""The built pages as files: all there, no warning, every link and anchor, images described, nothing from elsewhere."""

import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> set[str]:
    return {tag["id"] for tag in soup(path).find_all(id=True)} | {
        tag["name"] for tag in soup(path).find_all("a", attrs={"name": True})
    }


def broken_links(page: Path, book: Path) -> list[str]:
    """The links of a page to a file or an anchor that is not there, or that leave the book other than by https."""
    broken = []
    for link in soup(page).find_all("a", href=True):
        href = link["href"]
        parts = urlsplit(href)
        if parts.scheme in ("mailto", "https"):
            continue
        if parts.scheme or parts.netloc:
            broken.append(href)
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        target = target / "index.html" if target.is_dir() else target
        there = target.is_file() and target.is_relative_to(book)
        if not there or (parts.fragment and unquote(parts.fragment) not in anchors(target)):
            broken.append(href)
    return broken


def test_the_book_has_the_pages_of_its_table_of_contents_and_no_others(book, pages):
    built = {
        path.relative_to(book).with_suffix("").as_posix()
        for path in book.rglob("*.html")
        if "_static" not in path.parts
    }
    assert built == {*pages, "index", "genindex", "py-modindex", "search"}


def test_every_page_and_chapter_of_the_repository_is_in_the_table_of_contents(pages):
    written = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "book").rglob("*.md")}
    assert written | {f"notebooks/{stem}" for stem in NOTEBOOKS} == set(pages)


def test_the_build_warned_of_nothing(book):
    log = (book.parent / "build.log").read_text(encoding="utf-8")
    assert "build succeeded" in log
    assert re.findall(r".*(?:WARNING|ERROR|Traceback).*", log) == []


def test_every_link_and_anchor_resolves(book, page_name):
    assert broken_links(book / f"{page_name}.html", book) == []


def test_the_link_check_can_fail(tmp_path):
    (tmp_path / "page.html").write_text(
        '<p id="here"><a href="#here"></a><a href="https://elsewhere.example"></a><a href="page.html#here"></a>'
        '<a href="#gone"></a><a href="lost.html"></a><a href="http://unsafe.example"></a>'
        '<a href="page.html#gone"></a></p>'
    )
    page = tmp_path / "page.html"
    assert broken_links(page, tmp_path) == ["#gone", "lost.html", "http://unsafe.example", "page.html#gone"]


def test_every_image_is_described(book, page_name):
    images = soup(book / f"{page_name}.html").select("img:not(.toggler)")  # the module index's + and - are as they read
    assert [str(image)[:200] for image in images if len(image.get("alt", "")) < 5] == []


def test_every_file_that_a_page_loads_is_in_the_book(book, page_name):
    page = book / f"{page_name}.html"
    loaded = [tag["src"] for tag in soup(page).find_all(["script", "img", "iframe", "source"], src=True)]
    loaded += [tag["href"] for tag in soup(page).find_all("link", rel=["stylesheet", "preload", "icon"])]
    missing = [
        url for url in loaded if not url.startswith("data:") and not (page.parent / urlsplit(url).path).is_file()
    ]
    assert missing == []


def test_no_page_names_a_script_of_another_host(book, page_name):
    scripts = [str(tag) for tag in soup(book / f"{page_name}.html").find_all("script")]
    assert [found for script in scripts for found in re.findall(r"https?://[^\s\"']+\.(?:m?js|css)", script)] == []


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_the_colab_link_points_at_the_chapter_in_the_repository(book, stem):
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    repository = config["repository"]["url"].removeprefix("https://")
    expected = f"https://colab.research.google.com/{repository.replace('.com', '')}/blob/main/notebooks/{stem}.ipynb"
    links = {link["href"] for link in soup(book / "notebooks" / f"{stem}.html").select("a[href*='colab.research']")}
    assert links == {expected}


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_a_chapter_says_what_made_it(book, stem):
    record = json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text(encoding="utf-8"))["metadata"]["stitchwork"]
    line = soup(book / "notebooks" / f"{stem}.html").select_one("h1 + p.chapter-record").get_text()
    for key in ("preset", "hardware", "python", "torch", "stitchwork", "source"):
        assert record[key] in line


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_injected_parameters_are_not_shown(book, stem):
    assert soup(book / "notebooks" / f"{stem}.html").select(".tag_injected-parameters") == []
