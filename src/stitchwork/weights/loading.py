"""Published weights: timm's and torchvision's names in ours, and safetensors out and in.

Three rules hold for whatever is loaded:

* All or nothing. Every name and shape is checked first; a load that fails leaves the network as it was.
* The head may differ. If the network has another number of classes than the file (or none), everything else is loaded
  and the head stays as it is: fresh, ready to be trained.
* No pickles. A ``.pt``, ``.pth`` or ``.bin`` file can run code when it is opened, so paths must end in
  ``.safetensors``. Who trusts a checkpoint opens it with ``torch.load(path, weights_only=True)`` and passes the dict.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from stitchwork.provenance import __version__
from stitchwork.registry import describe
from stitchwork.weights.names import published, rules

SOURCES = ("timm", "torchvision")
HEAD = "head."
COUNTER = "num_batches_tracked"


def rename(name: str, source: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of another library's network the names that they have in ours.

    Args:
        name: the registered name of our network, such as ``"resnet50"``.
        source: ``"timm"`` or ``"torchvision"``.
        state_dict: of their network.

    Returns:
        Our names to the same tensors, in the same order; without those of layers that only their training uses.

    Raises:
        ValueError: an unknown name or source, a family that the library does not have, or tensors that no rule knows.
    """
    describe(name)
    if source not in SOURCES:
        raise ValueError(f"source must be 'timm' or 'torchvision'; got {source!r}")
    known = rules(name, source)
    if not known:
        raise ValueError(f"there are no rules for the names of {source}'s {name}: it has no such network")

    renamed: dict[str, Tensor] = {}
    strangers = []
    for key, tensor in state_dict.items():
        layer, _, tail = key.rpartition(".")
        for theirs, ours in known:
            if match := re.fullmatch(theirs, layer):
                if ours is not None:
                    renamed[".".join(filter(None, (match.expand(ours), tail)))] = tensor
                break
            if match := re.fullmatch(theirs, key):
                renamed[match.expand(ours)] = tensor
                break
        else:
            strangers.append(key)
    if strangers:
        raise ValueError(
            f"{_list(strangers)}: no such tensor in {source}'s {name}; is this the state_dict of another network?"
        )
    return renamed


def load_weights(model: nn.Module, name: str, weights: str | os.PathLike) -> None:
    """Load what ``create_model(..., weights=...)`` asks for.

    Args:
        model: the network, changed in place.
        name: its registered name.
        weights: ``"timm"`` or ``"torchvision"`` to download, or the path of a ``.safetensors`` file in our own names.

    Raises:
        ValueError: weights that do not exist or do not fit.
        FileNotFoundError: a path where there is no file.
        ImportError: a library is missing; the message says how to install it.
        ConnectionError: the download failed.
    """
    if weights in SOURCES:
        load_published(model, name, weights)
    elif Path(weights).suffix:
        load_safetensors(model, weights)
    else:
        raise ValueError(
            f"weights must be 'timm', 'torchvision' or the path of a .safetensors file; got {os.fspath(weights)!r}"
        )


def arguments_for(name: str, weights: str | os.PathLike) -> dict:
    """What a network must be built with so that these weights give what they gave where they come from.

    Mostly nothing. Some networks of timm differ from the published ones by the eps of their BatchNorms or by their
    padding, for which ours have arguments.

    Args:
        name: the registered name.
        weights: ``"timm"``, ``"torchvision"`` or a path.
    """
    return published(name, weights)[1] if weights in SOURCES else {}


def load_published(model: nn.Module, name: str, source: str) -> None:
    """Download a library's default weights for this network, and load them.

    They are cached where the library keeps its downloads. Which training they come from is the library's choice, and
    may change with its version: to be sure, save them once with :func:`save_safetensors`.

    Args:
        model: the network, changed in place.
        name: its registered name.
        source: ``"timm"`` or ``"torchvision"``.

    Raises:
        ValueError: the library has no such network or no weights for it, or they do not fit the model.
        ImportError: the library is missing.
        ConnectionError: the download failed.
    """
    if source not in SOURCES:
        raise ValueError(f"source must be 'timm' or 'torchvision'; got {source!r}")
    theirs, _ = published(name, source)
    if theirs is None:
        others = [library for library in SOURCES if published(name, library)[0]]
        advice = f"{' or '.join(others)} has it" if others else "no library has it; train it, or load your own file"
        raise ValueError(f"{source} has no {name}: {advice}")
    try:
        state_dict = _from_timm(theirs) if source == "timm" else _from_torchvision(theirs)
    except ImportError as error:
        raise ImportError(f'{source} is needed for its weights: pip install "stitchwork[weights]"') from error
    load_state_dict_from(model, name, state_dict, source)


def _from_timm(published: str) -> dict[str, Tensor]:
    import timm

    if not timm.is_model_pretrained(published):
        raise ValueError(f"timm has the network {published} but no weights for it: train it, or load your own file")
    with _download(published):
        return timm.create_model(published, pretrained=True).state_dict()


def _from_torchvision(published: str) -> dict[str, Tensor]:
    from torchvision import models

    weights = models.get_model_weights(published).DEFAULT
    with _download(published):
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)


@contextmanager
def _download(published: str) -> Iterator[None]:
    """Each library on the way has its own exceptions for a server that does not answer; here they become one."""
    try:
        yield
    except Exception as error:
        raise ConnectionError(
            f"could not download the weights of {published} ({type(error).__name__}: {error}); check the connection, "
            "or save them where there is one with stitchwork.weights.save_safetensors and pass the path of that file"
        ) from error


def load_state_dict_from(
    model: nn.Module, name: str, state_dict: Mapping[str, Tensor] | str | os.PathLike, source: str
) -> None:
    """Load the weights of timm's or torchvision's network that you have at hand; nothing is downloaded.

    Args:
        model: the network, changed in place.
        name: its registered name.
        state_dict: of their network, or the path of a ``.safetensors`` file that has it.
        source: ``"timm"`` or ``"torchvision"``: whose names these are.

    Raises:
        ValueError: tensors are missing, left over or of another shape (the message names the first of them), or the
            path is that of a pickle.
        FileNotFoundError: a path where there is no file.
    """
    if not isinstance(state_dict, Mapping):
        state_dict = _read(state_dict)
    _load(model, rename(name, source, state_dict), f"{source}'s {name}")


def save_safetensors(model: nn.Module, path: str | os.PathLike, name: str | None = None) -> None:
    """Write parameters and buffers to a ``.safetensors`` file.

    The file is written beside its place first and then moved, so that an interruption never leaves half a file. Its
    metadata names the class, the version of this package and, where it is given, the registered name.

    Args:
        model: any module.
        path: where to; the folder must exist.
        name: the registered name, for the metadata.

    Raises:
        ValueError: the path does not end in ``.safetensors``.
    """
    from safetensors.torch import save_file

    path = _safetensors_path(path)
    metadata = {"format": "pt", "class": type(model).__name__, "stitchwork": __version__}
    if name is not None:
        metadata["name"] = name
    # Copies, because tied weights share memory and channels-last weights are not contiguous: neither can be written.
    tensors = {
        key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, tensor in model.state_dict().items()
    }
    unfinished = path.with_name(path.name + ".part")
    save_file(tensors, unfinished, metadata)
    os.replace(unfinished, path)


def load_safetensors(model: nn.Module, path: str | os.PathLike) -> None:
    """Load a file that :func:`save_safetensors` wrote.

    Args:
        model: the network, changed in place.
        path: the file.

    Raises:
        ValueError: not a ``.safetensors`` file, or its tensors do not fit.
        FileNotFoundError: there is no such file.
    """
    _load(model, _read(path), os.fspath(path))


def trained_network(name: str, path: str | os.PathLike, **kwargs) -> nn.Module:
    """The network that a ``.safetensors`` file is of, with the file's classes and channels.

    Args:
        name: the registered name.
        path: the file.
        **kwargs: the network's own arguments, if it was built with any.

    Raises:
        ValueError: not a ``.safetensors`` file, or its tensors do not fit, or it has no head.
        FileNotFoundError: there is no such file.
    """
    entry, tensors = describe(name), _read(path)
    with torch.device("meta"):
        own = entry.build(**kwargs).state_dict()
    sizes = {"num_classes": _classes(tensors)}
    if not sizes["num_classes"]:
        raise ValueError(f"{path} has no head, so it says nothing of any class; take the weights of the whole network")
    first = next((key for key, tensor in own.items() if tensor.dim() == 4), None)
    if first in tensors and tensors[first].dim() == 4:
        sizes["in_chans"] = tensors[first].shape[1]
    model = entry.build(**sizes | kwargs)
    _load(model, tensors, os.fspath(path))
    return model


def _safetensors_path(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl"):
        raise ValueError(
            f"{path} is a pickle, which can run code when it is opened; take a .safetensors file, or if you trust it "
            "open it with torch.load(path, weights_only=True) and pass the state_dict"
        )
    if path.suffix != ".safetensors":
        raise ValueError(f"weights are kept in .safetensors files; got {path}")
    return path


def _read(path: str | os.PathLike) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _safetensors_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable .safetensors file ({error}); fetch or save it again") from error


def _load(model: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Check everything, then load everything; the head and the BatchNorms' counters may be lacking."""
    own = model.state_dict()
    if any(tensor.is_meta for tensor in own.values()):
        raise ValueError(f"this {type(model).__name__} is on the meta device and has no memory to load into")
    tensors = {key: _reshaped(tensor, own.get(key)) for key, tensor in tensors.items()}
    _check_channels(model, own, tensors, origin)
    if _classes(own) != _classes(tensors):
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(HEAD)}
        tensors |= {key: tensor for key, tensor in own.items() if key.startswith(HEAD)}
    # Files from before BatchNorm counted its batches lack the counter; nothing in evaluation reads it.
    tensors = {key: own[key] for key in own if key.endswith(COUNTER)} | tensors

    problems = []
    if missing := [key for key in own if key not in tensors]:
        problems.append(f"lacks {_list(missing)}")
    if unexpected := [key for key in tensors if key not in own]:
        problems.append(f"has {_list(unexpected)}, which the network has not")
    if misshapen := [
        f"{key} as {tuple(tensors[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]:
        problems.append(f"has {_list(misshapen)}")
    if problems:
        raise ValueError(f"the weights of {origin} do not fit this {type(model).__name__}: it " + "; ".join(problems))
    model.load_state_dict(tensors)


def _reshaped(tensor: Tensor, like: Tensor | None) -> Tensor:
    """The same numbers in the shape of ``like`` where only axes of length one differ: a 1x1 convolution as a matrix."""
    if like is None or tensor.squeeze().shape != like.squeeze().shape:
        return tensor
    return tensor.reshape(like.shape)


def _classes(state_dict: Mapping[str, Tensor]) -> int:
    """Number of classes that a state_dict is for, 0 without a head; a head ends with its linear layer's bias."""
    head = [tensor for key, tensor in state_dict.items() if key.startswith(HEAD)]
    return len(head[-1]) if head else 0


def _check_channels(model: nn.Module, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], origin: str) -> None:
    """The commonest misfit deserves its own message: the first convolution is made for other images."""
    first = next((key for key, tensor in own.items() if tensor.dim() == 4), None)
    if first is None or first not in tensors:
        return
    ours, theirs = own[first].shape, tensors[first].shape
    if len(theirs) == 4 and ours[1] != theirs[1] and (ours[0], *ours[2:]) == (theirs[0], *theirs[2:]):
        raise ValueError(
            f"{origin} was trained on images of {theirs[1]} channels, this {type(model).__name__} takes {ours[1]}: "
            f"build it with in_chans={theirs[1]}, and put a layer in front that maps your channels to those"
        )


def _list(names: Iterable[str], most: int = 3) -> str:
    """The first few, and how many more there are."""
    names = list(names)
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
