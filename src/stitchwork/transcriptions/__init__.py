"""The modules once more, written straight from their equations, with no regard for speed.

Where a module of this package takes a shortcut (a fused kernel, a gather in the place of an unfold, a mask that is
never made), its transcription does not. The two share their parameters, so the tests can ask for equal outputs at any
size, and the benchmark can say what the shortcut is worth. A transcription is what a careful reader of the paper, or
of a popular copy that is not wrong, would write down.
"""

import importlib
import pkgutil
from functools import cache

from torch import nn


@cache
def transcriptions() -> dict[str, type[nn.Module]]:
    """For the names of blocks, and of a network, the class that computes the same function as our module plainly."""
    found: dict[str, type[nn.Module]] = {}
    for info in pkgutil.iter_modules(__path__):
        found |= importlib.import_module(f"{__name__}.{info.name}").TRANSCRIPTIONS
    return dict(sorted(found.items()))


def transcribe(name: str, module: nn.Module) -> nn.Module:
    """The plain form of ``module``, which is one of the registered ``name``, with the same parameters.

    Raises:
        ValueError: there is none for this name.
    """
    if name not in transcriptions():
        raise ValueError(f"no transcription of {name!r}; there are {', '.join(transcriptions())}")
    return transcriptions()[name](module)
