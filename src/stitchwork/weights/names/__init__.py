"""What timm and torchvision call our layers: for each file of ``models/`` one here, with the same name.

A file has ``timm(name)`` or ``torchvision(name)`` or both, for the libraries that have these networks. Called with a
registered name, each gives that network's rules: pairs of a regular expression, which must match the whole path of
their layer, and our path, which may use its groups. Where a single tensor has another name, the pair is of the paths
of the tensors. ``None`` in the place of our path leaves out a layer that only their training uses. The first rule that
matches counts.

Where a library's weights belong to a network that differs from the published one by an argument, such as the eps of
its BatchNorms, the file says so in ``TIMM``: our name to theirs, and the arguments with which ours gives what theirs
gives.
"""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from stitchwork.registry import describe

Rules = tuple[tuple[str, str | None], ...]


def rules(name: str, source: str) -> Rules:
    """The rules for the network ``name`` in the library ``source``; none where the library lacks it."""
    of_source = getattr(_family(name), source, None)
    return of_source(name) if of_source else ()


def published(name: str, source: str) -> tuple[str | None, dict]:
    """What a library calls the network that its weights for ``name`` belong to, and what ours must be built with."""
    for reference in describe(name).references:
        library, theirs = reference.split(":", 1)
        if library == source:
            return theirs, {}
    return getattr(_family(name), source.upper(), {}).get(name, (None, {}))


def _family(name: str) -> ModuleType | None:
    module = f"{__name__}.{describe(name).module.rsplit('.', 1)[-1]}"
    return import_module(module) if find_spec(module) else None
