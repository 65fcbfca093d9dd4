"""What goes round wrong: defects of popular copies, and of official code, of the modules of this book.

Each is rebuilt here as a small module that has the defect, with one number that shows it. The tests insist that ours
passes where the defective one fails, the chapters show it, and the page of errata is made from this list.
"""

import importlib
import pkgutil
from functools import cache

from stitchwork.errata.erratum import Erratum

__all__ = ["Erratum", "errata"]


@cache
def errata() -> dict[str, Erratum]:
    """All defects by key, in the order of their modules' names.

    Raises:
        ValueError: two have the same key.
    """
    found: dict[str, Erratum] = {}
    for info in pkgutil.iter_modules(__path__):
        for erratum in getattr(importlib.import_module(f"{__name__}.{info.name}"), "ERRATA", ()):
            if erratum.key in found:
                raise ValueError(f"two errata have the key {erratum.key!r}")
            found[erratum.key] = erratum
    return dict(sorted(found.items(), key=lambda item: (item[1].block, item[0])))
