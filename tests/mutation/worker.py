"""Runs the suite against one mutated package after another, in one process that has imported torch once.

Reads requests from standard input, one JSON line each: ``{"id": ..., "module": ..., "source": ..., "subject": ...}``,
and answers each with a line ``{"imported": ..., "failed": [...], "broken": [...], "passed": ..., "output": ...}``.

All that is ours is imported afresh for each request, the package and the tests alike, with ``source`` in the place of
the file of ``module``.
"""

import contextlib
import importlib
import importlib.machinery
import io
import json
import os
import re
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Only whether a test fails matters here: how to explain it, and what was left behind, takes more time than the tests.
WITHOUT = ("cacheprovider", "unraisableexception", "threadexception")
OPTIONS = ["-x", "-q", "-o", "addopts=", "--assert=plain", "--tb=short", *(f"-pno:{plugin}" for plugin in WITHOUT)]


class Loader(importlib.machinery.SourceFileLoader):
    """Executes other text than the file's, and notes that it did."""

    def __init__(self, name, path, source):
        super().__init__(name, path)
        self.source, self.used = source, False

    def get_code(self, fullname):
        self.used = True
        return compile(self.source, self.path, "exec")


class Finder:
    """Finds one module elsewhere than the others."""

    def __init__(self, name, source):
        self.name, self.source, self.loader = name, source, None

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        self.loader = Loader(name, spec.origin, self.source)
        return importlib.util.spec_from_file_location(name, spec.origin, loader=self.loader)


class Recorder:
    """Keeps the tests of one registered name and those of none in particular, and notes what came of them.

    Tests of all names at once (``test_every_...``) are left out: while the tests are collected, the registry shows only
    the name concerned, for making thousands of tests of the others would take most of the time. Where the subject is a
    file or folder of tests, all of it is kept.
    """

    def __init__(self, subject):
        names = rf"^test_(?!every_)\w+$|(?<!\w){re.escape(subject)}(?!\w)"
        self.wanted = re.compile("" if is_place(subject) else names)
        self.failed, self.broken, self.passed = [], [], 0

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if self.wanted.search(item.name)]

    def pytest_collectreport(self, report):
        if report.failed:
            self.broken.append(report.nodeid)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            (self.failed if report.when == "call" else self.broken).append(report.nodeid)
        self.passed += report.passed and report.when == "call"


@contextlib.contextmanager
def only(subject):
    """The registry lists one name while this lasts; it builds them all."""
    stitchwork = importlib.import_module("stitchwork")
    whole = {kind: getattr(stitchwork, kind) for kind in ("list_blocks", "list_models")}
    for kind, names in whole.items():
        setattr(
            stitchwork, kind, lambda *args, names=names, **options: [n for n in names(*args, **options) if n == subject]
        )
    try:
        yield
    finally:
        for kind, names in whole.items():
            setattr(stitchwork, kind, names)


def is_place(subject):
    """Whether the subject is a file or folder of tests, and not a registered name."""
    return (TESTS / subject).exists()


def is_ours(name, module):
    """The package, and every test file: one that stayed would hold on to the package of the run before."""
    test = (getattr(module, "__file__", None) or "").startswith(f"{TESTS}{os.sep}")
    return name != "__main__" and (test or name.partition(".")[0] == "stitchwork")


def run(request):
    for name, module in list(sys.modules.items()):
        if is_ours(name, module):
            del sys.modules[name]
    finder = Finder(f"stitchwork.{request['module']}", request["source"])
    recorder, output = Recorder(request["subject"]), io.StringIO()
    sys.meta_path.insert(0, finder)
    try:
        with contextlib.redirect_stdout(output), only(request["subject"]):
            places = [request["subject"]] if is_place(request["subject"]) else ["parity", "contract"]
            pytest.main([*OPTIONS, *(str(TESTS / place) for place in places)], plugins=[recorder])
    finally:
        sys.meta_path.remove(finder)
    return {
        "imported": finder.loader is not None and finder.loader.used,
        "failed": recorder.failed,
        "broken": recorder.broken,
        "passed": recorder.passed,
        "output": output.getvalue()[-4000:],
    }


def main():
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")  # what the tests print must not mix with the answers
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
