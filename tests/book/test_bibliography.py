"""The bibliography: whatever is cited is there, and every entry says who, what, where and when."""

import json
import re
from pathlib import Path

import pytest
from pybtex.database import BibliographyData, parse_file, parse_string

import stitchwork

ROOT = Path(__file__).resolve().parents[2]
BIBLIOGRAPHY = parse_file(ROOT / "book" / "references.bib")
VENUES = {"booktitle", "journal", "school", "howpublished"}
CITE = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")


def cited_in(text: str) -> set[str]:
    """The keys in all ``{cite}`` roles of a text."""
    return {key.strip() for group in CITE.findall(text) for key in group.split(",")}


def sources() -> dict[str, str]:
    """The Markdown of every page and chapter, by path."""
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in (ROOT / "book").rglob("*.md")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[str(path.relative_to(ROOT))] = "\n".join(
            "".join(c["source"]) for c in cells if c["cell_type"] == "markdown"
        )
    return texts


def incomplete(bibliography: BibliographyData) -> list[str]:
    """Entries without a title, an author, a venue or a year of four digits."""
    return [
        key
        for key, entry in bibliography.entries.items()
        if not (
            entry.fields.get("title")
            and entry.persons.get("author")
            and VENUES & {field.lower() for field in entry.fields}
            and re.fullmatch(r"(19|20)\d\d", entry.fields.get("year", ""))
        )
    ]


@pytest.mark.parametrize("path", sources())
def test_every_citation_is_in_the_bibliography(path):
    assert cited_in(sources()[path]) - set(BIBLIOGRAPHY.entries) == set()


@pytest.mark.parametrize("name", [*stitchwork.list_blocks(), *stitchwork.list_models()], ids=str)
def test_every_registered_paper_is_in_the_bibliography(name):
    assert stitchwork.describe(name).paper in BIBLIOGRAPHY.entries


def test_every_entry_is_complete():
    assert incomplete(BIBLIOGRAPHY) == []


def test_keys_begin_with_the_first_author_and_the_year():
    for key, entry in BIBLIOGRAPHY.entries.items():
        assert re.search(r"\d{4}", key).group() == entry.fields["year"], key


def test_the_checks_can_fail():
    text = "as {cite:t}`he2016resnet, nobody2000` and {cite}`known1999` say"
    assert cited_in(text) == {"he2016resnet", "nobody2000", "known1999"}
    lacking = """
        @misc{a, title={T}, author={A, B}, howpublished={H}, year={2000}}
        @misc{b, title={T}, author={A, B}, year={2000}}
        @misc{c, title={T}, author={A, B}, howpublished={H}}
        @misc{d, title={T}, howpublished={H}, year={2000}}
        @misc{e, title={T}, author={A, B}, howpublished={H}, year={soon}}
    """
    assert incomplete(parse_string(lacking, "bibtex")) == ["b", "c", "d", "e"]
