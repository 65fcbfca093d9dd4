"""The built book, and a browser to look at it with."""

import copy
import functools
import http.server
import importlib.util
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from filelock import FileLock
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
SOURCES = ("_config.yml", "_toc.yml", "book", "notebooks", "src")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


def pages_of_toc() -> list[str]:
    """The names of the pages that the table of contents lists, such as ``"book/welcome"``."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))

    def walk(node) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (node[key] for key in ("root", "file") if key in node)
            node = [node[key] for key in ("parts", "chapters", "sections") if key in node]
        if isinstance(node, list):
            for child in node:
                yield from walk(child)

    return list(walk(toc))


PAGES = pages_of_toc()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``page_name`` once for each page of the book, those that Sphinx adds included.

    All tests of a page run in one worker, because each worker opens the page that it is asked about, and that is slow.
    """
    if "page_name" in metafunc.fixturenames:
        names = [*PAGES, "genindex", "py-modindex", "search"]
        metafunc.parametrize("page_name", [pytest.param(n, id=n, marks=pytest.mark.xdist_group(n)) for n in names])


def newest(paths: list[Path]) -> float:
    """The time of the latest change below ``paths``, in seconds."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return max(file.stat().st_mtime for file in files if file.is_file() and file.suffix != ".pyc")


@pytest.fixture(scope="session")
def pages() -> list[str]:
    """The pages of the table of contents."""
    return PAGES


@pytest.fixture(scope="session")
def book() -> Path:
    """The folder of the built book, built now if it is missing or older than what it is made from."""
    spec = importlib.util.spec_from_file_location("book_build", ROOT / "book" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    index = HTML / "index.html"
    with FileLock(Path(tempfile.gettempdir(), "stitchwork-book.lock")):  # of several workers the first one builds
        if not index.exists() or index.stat().st_mtime < newest([ROOT / source for source in SOURCES]):
            assert module.build() == 0, f"the book does not build: see {module.LOG}"
    return HTML


@pytest.fixture(scope="session")
def site(book: Path) -> Iterator[str]:
    """The address of the book on a local server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=book))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: the one that the variable CHROMIUM names, or the first one found on PATH."""
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("no Chromium on PATH: install it, or name it in the variable CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """What the browser saw on one page."""

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    formulas: int = 0
    typeset: int = 0
    violations: dict[str, list[str]] = field(default_factory=dict)
    phone_width: int = 0
    background: dict[str, str] = field(default_factory=dict)


def set_theme(page: Page, theme: str) -> None:
    """Choose the light or the dark theme as its button does: on the page and for the next one."""
    page.evaluate(
        """theme => {
            localStorage.setItem("mode", theme); localStorage.setItem("theme", theme);
            document.documentElement.dataset.mode = theme; document.documentElement.dataset.theme = theme;
        }""",
        theme,
    )


def accessibility(page: Page, context: str | None = None, **options) -> list[str]:
    """What axe-core finds serious or critical on a page or in what a selector matches, as ``rule: element``."""
    found = Axe().run(page, context, {"resultTypes": ["violations"], **options}).response["violations"]
    grave = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    return [f"{violation['id']}: {node['html'][:200]}" for violation in grave for node in violation["nodes"]]


def contrast(page: Page) -> list[str]:
    """Like :func:`accessibility` for the contrast of text, asked of one element of all that look alike.

    A page has thousands of coloured words in its code, and axe-core takes a millisecond for each.
    """
    page.evaluate(
        """() => {
            const seen = new Set();
            for (const element of document.body.querySelectorAll("*")) {
                element.removeAttribute("data-specimen");
                if (![...element.childNodes].some(node => node.nodeName === "#text" && node.data.trim())) continue;
                if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
                const grounds = [];
                for (let node = element; node; node = node.parentElement)
                    grounds.push(getComputedStyle(node).backgroundColor, getComputedStyle(node).opacity);
                const { color, fontSize, fontWeight } = getComputedStyle(element);
                const look = [color, fontSize, fontWeight, element.tagName, ...new Set(grounds)].join();
                if (!seen.has(look)) element.setAttribute("data-specimen", "");
                seen.add(look);
            }
        }"""
    )
    return accessibility(page, "[data-specimen]", runOnly=["color-contrast"])


def look_at(browser: Browser, address: str) -> Visit:
    """Open a page, note what happens, and look at it in both themes and on a phone."""
    page = browser.new_page(viewport=DESKTOP, reduced_motion="reduce")
    seen = Visit()
    page.on("console", lambda message: seen.console.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.console.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("requestfailed", lambda request: seen.failed.append(request.url))
    page.on("response", lambda response: seen.failed.append(response.url) if response.status >= 400 else None)
    page.goto(address, wait_until="load")
    page.evaluate("window.MathJax?.startup?.promise")
    visit = copy.deepcopy(seen)  # before axe-core, which loads style sheets again from where they are not
    visit.formulas = page.locator("span.math, div.math").count()
    visit.typeset = page.locator("mjx-container").count()
    for theme in ("light", "dark"):
        set_theme(page, theme)
        visit.background[theme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        visit.violations[theme] = contrast(page)
    visit.violations["desktop"] = accessibility(page, rules={"color-contrast": {"enabled": False}})
    page.set_viewport_size(PHONE)
    page.reload(wait_until="load")
    visit.phone_width = page.evaluate("document.scrollingElement.scrollWidth")
    visit.violations["phone"] = accessibility(page, rules={"color-contrast": {"enabled": False}})
    page.close()
    return visit


@pytest.fixture(scope="session")
def look(browser: Browser):
    """A function that opens an address and gives what the browser saw there."""
    return functools.partial(look_at, browser)


@pytest.fixture(scope="session")
def visit(site: str, look):
    """A function that gives what the browser saw on a page of the book; each page is opened once."""
    return functools.cache(lambda name: look(f"{site}/{name}.html"))
