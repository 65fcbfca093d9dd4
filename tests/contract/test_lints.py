"""Patterns in the source that have been bugs elsewhere, found by reading the syntax tree."""

import ast
import importlib
import inspect
import pkgutil

import pytest

import stitchwork


def _called(node):
    """The last name of what a call calls: ``softmax`` in ``F.softmax(x)`` and in ``x.softmax(1)``."""
    if isinstance(node, ast.Call):
        return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)


def _keywords(node):
    return {k.arg for k in node.keywords}


def _faults(tree):
    for node in ast.walk(tree):
        called = _called(node)
        if called in ("cuda", "cpu", "numpy", "item", "tolist"):
            yield node, f".{called}() ties the code to a device"
        elif called in ("softmax", "log_softmax") and not _has_axis(node):
            yield node, "softmax without dim guesses the axis"
        elif called in ("Softmax", "LogSoftmax") and not (node.args or node.keywords):
            yield node, "Softmax without dim guesses the axis"
        elif called in ("dropout", "dropout2d") and len(node.args) < 3 and "training" not in _keywords(node):
            yield node, "F.dropout without training= drops in evaluation as well"
        elif called in ("print", "breakpoint"):
            yield node, f"{called} in the library"
        elif isinstance(node, ast.Global):
            yield node, "global state"
    for method in ast.walk(tree):
        if isinstance(method, ast.FunctionDef) and method.name.startswith("forward"):
            for node in ast.walk(method):
                if _called(node) in ("Parameter", "Conv2d", "Linear", "BatchNorm2d", "LayerNorm"):
                    yield node, f"{_called(node)} made in {method.name} is never trained"
                elif isinstance(node, ast.Attribute) and node.attr == "data":
                    yield node, ".data bypasses autograd"


def _has_axis(softmax):
    """``F.softmax(x, 1)`` and ``x.softmax(1)`` say over which axis, with or without the keyword."""
    function = isinstance(softmax.func, ast.Attribute) and getattr(softmax.func.value, "id", None) in ("F", "torch")
    return "dim" in _keywords(softmax) or len(softmax.args) > function


def check_lints(source, name="<source>"):
    """None of the patterns is in ``source``."""
    faults = [f"{name}:{node.lineno}: {what}" for node, what in _faults(ast.parse(source))]
    assert not faults, "\n".join(faults)


FLOORS = [importlib.import_module(f"stitchwork.{floor}") for floor in ("layers", "blocks", "models")]
MODULES = [f"{floor.__name__}.{info.name}" for floor in FLOORS for info in pkgutil.iter_modules(floor.__path__)]


@pytest.mark.parametrize("module", MODULES)
def test_lints(module):
    check_lints(inspect.getsource(importlib.import_module(module)), module)


@pytest.mark.parametrize("module", MODULES)
def test_floors(module):
    """A floor imports from the floors below only: layers < blocks < models, and nothing of the upper house."""
    floors = {"layers": ["layers"], "blocks": ["layers", "blocks"], "models": ["layers", "blocks", "models"]}
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    imported = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    imported += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
    ours = {
        name.split(".")[1] if "." in name else name for name in imported if name.split(".")[0] == stitchwork.__name__
    }
    assert ours <= set(floors[module.split(".")[1]])
