"""Names to builders.

A file in ``blocks/`` or ``models/`` declares what it offers in plain constants, and needs to know nothing of this
registry:

* ``PAPER``: the paper's key in ``book/references.bib``;
* ``CHAPTER``: the notebook that teaches it;
* ``BLOCKS`` or ``MODELS``: for each public name the callable that builds it;
* ``REFERENCES``: for each name the published implementations that it is proved equal to, such as
  ``"torchvision:resnet50"``, ``"timm:resnet50"``, ``"recorded:se"`` (a recorded fingerprint; ``"recorded:danet.head"``
  is that of another configuration), ``"transcription:aft_local"`` (the paper's equations, written out), or
  ``"counted:repnext_m1"`` (its published numbers of parameters and multiply-adds, where a smaller variant
  of the same code is proved equal), or ``"sibling:evit_unet"`` (a size of our own, of which nothing was published, of
  a network that is proved equal);
* ``LAYOUT``, where it is not ``"image"``, the (B, C, H, W) of the others: ``"sequence"`` is (B, T, C), ``"series"`` is
  (B, C, N, T), N series of T steps;
* ``DIM``, the channels of a block's published configuration, where they are not 64.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache

from torch import nn


@dataclass(frozen=True)
class Entry:
    """One registered name: how to build it, the paper behind it, and what it is proved equal to."""

    name: str
    kind: str
    build: Callable[..., nn.Module]
    paper: str
    chapter: str
    references: tuple[str, ...]
    module: str
    layout: str = "image"
    dim: int = 64

    @property
    def constructor(self) -> type[nn.Module]:
        """The class that is built, without the arguments that make the variant."""
        return getattr(self.build, "func", self.build)

    @property
    def needs_size(self) -> bool:
        """Whether the parameters depend on the image size: built for one ``size=(H, W)``, it takes no other.

        A block must be told; a network has its published size for a default.
        """
        size = inspect.signature(self.build).parameters.get("size")
        return size is not None and (self.kind == "model" or size.default is inspect.Parameter.empty)

    def example(self, height: int = 14, width: int = 14) -> tuple[dict, tuple[int, ...]]:
        """The arguments of :func:`create_block` for the published configuration, and the shape of a fitting input.

        Args:
            height: of the image.
            width: of the image.

        Returns:
            ``{"dim": 64}``, with ``size`` where it is needed, and such as (1, 64, 14, 14); a sequence has
            ``height`` x ``width`` steps, and of series there are ``height``, with ``2 width`` steps each.
        """
        size = {"size": (height, width)} if self.needs_size else {}
        shape = {
            "image": (1, self.dim, height, width),
            "sequence": (1, height * width, self.dim),
            "series": (1, self.dim, height, 2 * width),
        }[self.layout]
        return {"dim": self.dim, **size}, shape


def collect(kind: str, modules) -> dict[str, Entry]:
    """The entries that ``modules`` declare for ``kind`` (``"block"`` or ``"model"``), by name.

    Raises:
        ValueError: two modules declare one name, or a name lacks its references.
    """
    entries: dict[str, Entry] = {}
    for module in modules:
        for name, build in getattr(module, f"{kind.upper()}S").items():
            if name in entries:
                raise ValueError(f"{kind} {name!r} is declared by {entries[name].module} and by {module.__name__}")
            if name not in module.REFERENCES:
                raise ValueError(f"{module.__name__}.REFERENCES lacks {name!r}: say what it is proved equal to")
            references = tuple(module.REFERENCES[name])
            layout = getattr(module, "LAYOUT", "image")
            dim = getattr(module, "DIM", 64)
            entries[name] = Entry(
                name, kind, build, module.PAPER, module.CHAPTER, references, module.__name__, layout, dim
            )
    return dict(sorted(entries.items()))


@cache
def _entries(kind: str) -> dict[str, Entry]:
    package = importlib.import_module(f"stitchwork.{kind}s")
    names = [f"{package.__name__}.{info.name}" for info in pkgutil.iter_modules(package.__path__)]
    return collect(kind, map(importlib.import_module, names))


def _find(kind: str, name: str) -> Entry:
    entries = _entries(kind)
    if name in entries:
        return entries[name]
    other = "model" if kind == "block" else "block"
    if name in _entries(other):
        raise ValueError(f"{name!r} is a {other}: build it with create_{other}")
    near = difflib.get_close_matches(name, entries, n=3)
    advice = f"did you mean {' or '.join(map(repr, near))}?" if near else f"list_{kind}s() has all names"
    raise ValueError(f"there is no {kind} named {name!r}; {advice}")


def list_models(pattern: str = "*") -> list[str]:
    """The names of the networks that match a glob such as ``"resnet*"``."""
    return [name for name in _entries("model") if fnmatch(name, pattern)]


def list_blocks(pattern: str = "*", layout: str | None = None) -> list[str]:
    """The names of the plug-in modules that match a glob such as ``"*attention"``.

    Args:
        pattern: the glob.
        layout: only those that take this: ``"image"``, (B, C, H, W); ``"sequence"``, (B, T, C); or ``"series"``,
            (B, C, N, T).
    """
    entries = _entries("block")
    return [name for name in entries if fnmatch(name, pattern) and layout in (None, entries[name].layout)]


def describe(name: str) -> Entry:
    """What is registered under ``name``, block or network.

    Raises:
        ValueError: the name is unknown; the message has the nearest names.
    """
    return _find("block" if name in _entries("block") else "model", name)


def create_block(name: str, dim: int, **kwargs) -> nn.Module:
    """Build a plug-in module that maps (B, dim, H, W) to the same shape.

    Args:
        name: one of :func:`list_blocks`.
        dim: the number of channels C.
        **kwargs: the module's own arguments; without any, the published configuration.

    Raises:
        ValueError: unknown name, or an argument out of range.
        TypeError: an argument that the module does not have.
    """
    return _find("block", name).build(dim, **kwargs)


def create_model(
    name: str,
    num_classes: int | None = None,
    in_chans: int | None = None,
    *,
    weights: str | None = None,
    **kwargs,
) -> nn.Module:
    """Build a network.

    Args:
        name: one of :func:`list_models`.
        num_classes: number of logits; 0 gives a classifier's pooled features instead. Without it the published
            number: 1000 for classifiers.
        in_chans: channels of the input image; without it the published number: 3 for classifiers.
        weights: ``"timm"`` or ``"torchvision"`` downloads the published weights; the path of a ``.safetensors``
            file loads that; ``None`` leaves the random initialisation. If the weights are for another number of
            classes, all but the head is loaded, and the head stays fresh.
        **kwargs: the network's own arguments; without any, the published configuration, or where a library's weights
            need another (:func:`~stitchwork.weights.arguments_for`), that.

    Raises:
        ValueError: unknown name, weights that do not exist or do not fit, an argument out of range.
        TypeError: an argument that the network does not have.
        FileNotFoundError, ImportError, ConnectionError: the file, the library or the download of the weights failed.
    """
    entry = _find("model", name)
    sizes = {"num_classes": num_classes, "in_chans": in_chans}
    arguments = {k: v for k, v in sizes.items() if v is not None} | kwargs
    if weights is None:
        return entry.build(**arguments)

    from stitchwork.weights import arguments_for, load_weights

    model = entry.build(**arguments_for(name, weights) | arguments)
    load_weights(model, name, weights)
    return model
