"""The book's configuration: one repository address everywhere, stored outputs, every API module shown."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import stitchwork

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


def test_one_repository_address():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project["urls"]["Repository"]
    assert CONFIG["repository"]["url"] == address == stitchwork.REPOSITORY
    for path in (ROOT / "book").rglob("*.md"):
        named = re.findall(r"https://github\.com/[\w-]*stitchwork[\w-]*/[\w-]+", path.read_text(encoding="utf-8"))
        assert set(named) <= {address}, path
    owner, name = address.rsplit("/", 2)[1:]
    assert CONFIG["html"]["baseurl"] == f"https://{owner}.github.io/{name}/"


def test_chapters_are_shown_as_they_are_committed():
    assert CONFIG["execute"]["execute_notebooks"] == "off"
    assert CONFIG["only_build_toc_files"] is True


def test_no_button_that_needs_another_service():
    assert set(CONFIG["launch_buttons"]) == {"colab_url"}


@pytest.mark.parametrize("name", ["logo", "favicon"])
def test_pictures_of_the_configuration_exist(name):
    assert (ROOT / (CONFIG.get(name) or CONFIG["html"][name])).is_file()


def test_every_module_of_the_package_is_in_the_api_reference(book):
    package = Path(stitchwork.__file__).parent
    pages = [path.read_text(encoding="utf-8") for path in (book / "book" / "api").glob("*.html")]
    shown = {name for page in pages for name in re.findall(r'id="module-([\w.]+)"', page)}
    public = [path for path in package.rglob("*.py") if not path.name.startswith("_")]
    names = {".".join(path.relative_to(package.parent).with_suffix("").parts) for path in public}
    assert names - shown == set()


def test_every_registered_name_is_in_the_catalogue(book):
    page = (book / "book" / "catalogue.html").read_text(encoding="utf-8")
    for name in [*stitchwork.list_blocks(), *stitchwork.list_models()]:
        assert f'<span class="pre">{name}</span>' in page


def test_all_tests_of_a_page_run_in_one_process(request, page_name):
    if request.config.getoption("loadgroup", False):
        assert request.node.nodeid.endswith(f"@{page_name}"), "pytest-xdist does not group: it fits another pytest"
