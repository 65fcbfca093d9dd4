"""Every name says where it comes from, what it takes, and what it is proved equal to."""

import inspect
import re
import sys
from pathlib import Path

from torch import nn

from .subjects import EVERY, over

BIBLIOGRAPHY = Path(__file__).parents[2] / "book" / "references.bib"


def check_class_documented(cls):
    """The class docstring has a first sentence, every argument, and the shapes; public methods have docstrings."""
    text = cls.__doc__ or ""
    assert text.strip(), f"{cls.__name__} has no docstring"
    assert "Shapes:" in text, f"{cls.__name__}: the docstring has no section 'Shapes:'"
    arguments = [] if cls.__init__ is nn.Module.__init__ else list(inspect.signature(cls).parameters)
    if arguments:
        assert "Args:" in text, f"{cls.__name__}: the docstring has no section 'Args:'"
    lacking = [name for name in arguments if not re.search(rf"^\s+\**{name}: \S", text, re.MULTILINE)]
    assert not lacking, f"{cls.__name__}: the docstring does not explain {lacking}"
    for name, member in vars(cls).items():
        if inspect.isfunction(member) and not name.startswith("_"):
            assert member.__doc__, f"{cls.__name__}.{name} has no docstring"


def check_module_documented(module):
    """The file's docstring names the paper by its key, and where this code, the paper and copies differ."""
    text = module.__doc__ or ""
    assert re.search(rf"^Paper: {re.escape(module.PAPER)}\b", text, re.MULTILINE), (
        f"{module.__name__}: the docstring has no line 'Paper: {module.PAPER}'"
    )
    assert re.search("^Where this differs: ", text, re.MULTILINE), (
        f"{module.__name__}: the docstring has no paragraph 'Where this differs: '"
    )
    assert re.search(r"\bcost\b", text, re.IGNORECASE), f"{module.__name__}: the docstring says nothing of the cost"
    if hasattr(module, "BLOCKS"):
        growth = re.search(r"^Growth: N\^(1|1\.5|2)\b", text, re.MULTILINE)
        assert growth, f"{module.__name__}: the docstring has no line 'Growth: N^1', or N^1.5 or N^2"


def check_entry(entry):
    """Paper, chapter and at least one published implementation, or what stands for it."""
    assert re.fullmatch(r"[a-z]+\d{4}[a-z0-9]*", entry.paper), f"{entry.name}: {entry.paper!r} is no bibliography key"
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", entry.chapter), f"{entry.name}: {entry.chapter!r} is no chapter"
    assert entry.references, f"{entry.name} is proved equal to nothing"
    for reference in entry.references:
        known = re.fullmatch(r"(timm|torchvision|recorded|transcription|counted|sibling):[\w.]+", reference)
        assert known, f"{entry.name}: reference {reference!r}"


def check_name(name):
    """snake_case, as the field writes it."""
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name), f"{name!r} is not snake_case"


@over(EVERY)
def test_entry(subject):
    check_name(subject.name)
    check_entry(subject.entry)


@over(EVERY)
def test_class_documented(subject):
    check_class_documented(subject.entry.constructor)


@over(EVERY)
def test_module_documented(subject):
    module = sys.modules[subject.entry.module]
    check_module_documented(module)
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ == module.__name__:
            check_class_documented(cls)


@over(EVERY)
def test_paper_is_in_the_bibliography(subject):
    keys = re.findall(r"^@\w+\{([^,\s]+),", BIBLIOGRAPHY.read_text(encoding="utf-8"), re.MULTILINE)
    assert subject.entry.paper in keys
