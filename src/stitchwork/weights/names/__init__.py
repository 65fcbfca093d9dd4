"""What timm and torchvision call our layers: for each file of ``models/`` one here, with the same name.

A file has ``timm(name)`` or ``torchvision(name)`` or both, for the libraries that have these networks. Called with a
registered name, each gives that network's rules: pairs of a regular expression, which must match the whole path of
their layer, and our path, which may use its groups. Where a single tensor has another name, the pair is of the paths
of the tensors. The first rule that matches counts.
"""

from importlib import import_module
from importlib.util import find_spec

from stitchwork.registry import describe

Rules = tuple[tuple[str, str], ...]


def rules(name: str, source: str) -> Rules:
    """The rules for the network ``name`` in the library ``source``; none where the library lacks it."""
    module = f"{__name__}.{describe(name).module.rsplit('.', 1)[-1]}"
    if find_spec(module) is None:
        return ()
    of_source = getattr(import_module(module), source, None)
    return of_source(name) if of_source else ()
