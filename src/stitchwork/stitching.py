"""Put any block into any network: ours, timm's, torchvision's, your own.

>>> model = stitchwork.create_model("resnet50")
>>> stitched = stitch(model, "cbam", at="layer*.*.conv3", identity=True)
>>> print(stitches(stitched))

A place is a path of ``model.named_modules()``. There the module is wrapped in a :class:`Stitch`, which runs it (the
*host*) and the block. The network's own code is not touched, so whatever it does with the module it goes on doing.
"""

import copy
import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stitchwork.analysis.cost import count_multiply_adds, count_parameters
from stitchwork.analysis.evaluation import device_of, dtype_of, evaluation_mode
from stitchwork.registry import create_block, describe

WHERE = ("after", "before", "replace")


class Stitch(nn.Module):
    """A module of a network with a block before it, after it, or in its place.

    Attributes of the host can be read here, for networks that ask a part for its ``weight`` or ``out_channels``.

    Args:
        host: the network's own module.
        block: maps (B, C, H, W) to the same shape; for ``"replace"`` to the shape of the host's output.
        record: what is inserted and where.
        identity: mix the block in with a learned gain g from zero, x + g (block(x) - x): at 0 the network computes
            what it did without the block, at 1 the block has its full effect.

    Shapes:
        those of the host.
    """

    def __init__(self, host: nn.Module, block: nn.Module, record: "StitchRecord", identity: bool = False):
        super().__init__()
        self.record = record
        self.where = record.where
        self.block = block
        self.gain = nn.Parameter(torch.zeros(1)) if identity else None
        if self.where == "replace":
            self._replaced = (host,)  # in a tuple: kept for unstitch, but no part of the network any more
        else:
            self.host = host

    def __getattr__(self, name: str):
        """What is no attribute here is one of the host."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "host" not in self.__dict__.get("_modules", {}):
                raise
            return getattr(self._modules["host"], name)

    @property
    def original(self) -> nn.Module:
        """The host, whether it still runs or has been replaced."""
        return self._replaced[0] if self.where == "replace" else self.host

    def apply_block(self, x: Tensor) -> Tensor:
        """The block's output, mixed with its input if there is a gain."""
        y = self.block(x)
        if self.gain is not None:
            return x + self.gain * (y - x)
        # Networks overwrite in place what a part of theirs returns; a block may need its output for the gradient.
        return y.clone() if torch.is_grad_enabled() else y

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        """What the host takes, to what it gives; the block works on its first input or on its output."""
        if self.where == "replace":
            return self.apply_block(x)
        if self.where == "before":
            return self.host(self.apply_block(x), *args, **kwargs)
        return self.apply_block(self.host(x, *args, **kwargs))


@dataclass(frozen=True)
class StitchRecord:
    """One inserted block.

    Attributes:
        path: of the host, in the original network.
        where: ``"after"``, ``"before"`` or ``"replace"``.
        block: the class of the block.
        shape: (C, H, W) of what it works on, for the input that the network was probed with.
        parameters: added; a replaced host's are taken off.
        multiply_adds: added for one image of the probe's size; a replaced host's are taken off.
    """

    path: str
    where: str
    block: str
    shape: tuple[int, int, int]
    parameters: int
    multiply_adds: int


class StitchReport(list[StitchRecord]):
    """The inserted blocks of a network in the order of their places; printed, a table."""

    def __str__(self) -> str:
        """The table, with the sums below."""
        rows = [("path", "where", "block", "shape", "parameters", "multiply-adds")]
        rows += [
            (r.path, r.where, r.block, "×".join(map(str, r.shape)), f"{r.parameters:+,}", f"{r.multiply_adds:+,}")
            for r in self
        ]
        total = (sum(r.parameters for r in self), sum(r.multiply_adds for r in self))
        rows.append((f"{len(self)} in all", "", "", "", *(f"{n:+,}" for n in total)))
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if i > 3 else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))
            ).rstrip()
            for row in rows
        )


@dataclass(frozen=True)
class Probe:
    """What went through a place: shape in and shape out, or None where that is no tensor."""

    before: tuple[int, ...] | None
    after: tuple[int, ...] | None


def stitch(
    model: nn.Module,
    block: str | Callable[..., nn.Module],
    at: str,
    where: str = "after",
    *,
    identity: bool = False,
    input_size: Sequence[int] | None = None,
    inplace: bool = False,
    **kwargs,
) -> nn.Module:
    """Put a block at every place of a network that a glob matches.

    The number of channels at each place is found by running a small black image through the network.

    Args:
        model: any network that takes images.
        block: a registered name, or a callable that builds a block for a number of channels.
        at: glob on module paths, such as ``"layer*.*.conv2"``: ``*`` stands for one part of a path or some of it,
            ``**`` for any number of parts.
        where: ``"after"`` the module, ``"before"`` it, or ``"replace"``: in its place.
        identity: start as the identity, so that a pretrained network gives the same logits until training moves the
            gain. A block that starts as the identity by itself gets no gain: of two factors that are both zero, none
            would ever learn. With ``"replace"`` there is no identity to start from.
        input_size: (C, H, W) of the image to probe with. Without it, the channels are those of the network's first
            convolution, and the side is 64 pixels, or 224 where the network refuses 64. A block whose parameters
            depend on the image size needs it.
        inplace: change ``model`` itself; without it, a copy is made and ``model`` stays as it is.
        **kwargs: the block's own arguments.

    Returns:
        The stitched network. ``stitches(network)`` says what was inserted, :func:`unstitch` takes it out again.

    Raises:
        ValueError: nothing matches; a place does not carry (B, C, H, W), or does not run; the block does not keep or
            give the shape that the place needs; the network cannot be probed. The message names the path.
    """
    if where not in WHERE:
        raise ValueError(f"where must be one of {', '.join(map(repr, WHERE))}; got {where!r}")
    if identity and where == "replace":
        raise ValueError("identity=True needs the host's output to start from: use where='after' or 'before'")
    paths = matching_paths(model, at)
    probes = probe(model, paths, input_size)
    hosts = dict(model.named_modules())
    built: dict[str, nn.Module] = {}
    gained: dict[str, bool] = {}
    records: dict[str, StitchRecord] = {}
    for path in paths:
        shape = probes[path].before if where in ("before", "replace") else probes[path].after
        part = build(block, path, shape, sized=input_size is not None, kwargs=kwargs)
        wanted = probes[path].after if where == "replace" else shape
        check_shape(part, path, shape, wanted, where)
        gained[path] = identity and not starts_as_identity(part, shape)
        added = [count_parameters(part) + gained[path], count_multiply_adds(part, input_size=shape) // shape[0]]
        if where == "replace":
            added[0] -= count_parameters(hosts[path])
            added[1] -= count_multiply_adds(hosts[path], input_size=shape) // shape[0]
        records[path] = StitchRecord(path, where, type(part).__name__, tuple(shape[1:]), *added)
        built[path] = part

    stitched = model if inplace else copy.deepcopy(model)
    hosts = dict(stitched.named_modules())
    # The deepest first: a path is gone once something above it is wrapped.
    for path in sorted(paths, key=lambda path: path.count("."), reverse=True):
        wrapper = Stitch(hosts[path], built[path].train(hosts[path].training), records[path], gained[path])
        wrapper.training = hosts[path].training
        stitched.set_submodule(path, wrapper.to(device_of(model), dtype_of(model)))
    return stitched


def stitches(model: nn.Module) -> StitchReport:
    """What :func:`stitch` put into a network: a list of :class:`StitchRecord` that prints as a table."""
    return StitchReport(part.record for part in model.modules() if isinstance(part, Stitch))


def unstitch(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    """The network without its inserted blocks, with the hosts back in their places.

    What training did to the hosts stays; a replaced host comes back as it was when it was replaced.

    Args:
        model: a stitched network.
        inplace: change ``model`` itself; without it, a copy is made.

    Raises:
        ValueError: nothing is stitched into it.
    """
    if not any(isinstance(part, Stitch) for part in model.modules()):
        raise ValueError(f"nothing is stitched into this {type(model).__name__}; use it as it is")
    model = model if inplace else copy.deepcopy(model)
    device, dtype = device_of(model), dtype_of(model)
    # From the top down: a host may have been stitched itself.
    while wrapped := [(path, part) for path, part in model.named_modules() if isinstance(part, Stitch)]:
        path, wrapper = wrapped[0]
        host = wrapper.original
        if not path:
            model = host
        else:
            model.set_submodule(path, host.to(device, dtype) if wrapper.where == "replace" else host)
    return model


def matching_paths(model: nn.Module, at: str) -> list[str]:
    """The paths below ``model`` that the glob matches, in the order of ``named_modules``.

    Raises:
        ValueError: none does; the message has the nearest.
    """
    pattern = re.escape(at).replace(r"\*\*", ".*").replace(r"\*", r"[^.]*").replace(r"\?", "[^.]")
    parts = [path for path, _ in model.named_modules() if path]
    paths = [path for path in parts if re.fullmatch(pattern, path)]
    if not paths:
        near = difflib.get_close_matches(at, parts, n=5, cutoff=0.3) or parts[:5]
        raise ValueError(f"no module of {type(model).__name__} matches {at!r}; did you mean {', '.join(near)}?")
    return paths


def probe(model: nn.Module, paths: Sequence[str], input_size: Sequence[int] | None) -> dict[str, Probe]:
    """Run small images through the network and note the shapes that pass at each path.

    Raises:
        ValueError: the network takes no image that was tried, a place did not run, or it is channels-last.
    """
    if input_size is not None:
        sizes = [tuple(input_size)]
        if len(sizes[0]) != 3:
            raise ValueError(f"input_size must be (C, H, W); got {tuple(input_size)}")
    else:
        first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
        channels = first.in_channels if first is not None else 3
        sizes = [(channels, 64, 64), (channels, 224, 224)]
    for i, size in enumerate(sizes):
        try:
            shapes = pass_through(model, paths, size)
        except Exception as error:  # whatever the network's code raises at a size that it cannot take
            if i == len(sizes) - 1:
                tried = " or ".join("×".join(map(str, s)) for s in sizes)
                raise ValueError(
                    f"{type(model).__name__} cannot be run on an image of {tried} ({type(error).__name__}: {error}): "
                    "give input_size=(C, H, W) that it takes"
                ) from error
        else:
            break
    missing = [path for path in paths if path not in shapes]
    if missing:
        raise ValueError(f"{', '.join(missing)}: not called in a forward pass; use a narrower glob")
    channels, height, width = size
    larger = (channels, height + 32, width + 64)
    try:
        others = pass_through(model, paths, larger)
    except Exception:  # a network for images of one size: there is no second look
        others = shapes
    for path in paths:
        for side in ("before", "after"):
            shape, other = getattr(shapes[path], side), getattr(others[path], side)
            if shape is None or other is None or len(shape) != 4 or len(other) != 4:
                continue
            # A larger image changes rows and columns and leaves the channels; of a square image, maps are square.
            if shape[1] != other[1] or (height == width and shape[2] != shape[3]):
                and_larger = f", and {other} for {larger[1]}×{larger[2]}" if other != shape else ""
                raise ValueError(
                    f"{path}: gives shape {shape} for an image of {height}×{width} pixels{and_larger}: "
                    "this is no (B, C, H, W), perhaps channels-last; use another place"
                )
    return shapes


@torch.no_grad()
def pass_through(model: nn.Module, paths: Sequence[str], size: Sequence[int]) -> dict[str, Probe]:
    """The shapes in and out of each place for a batch of one black image of (C, H, W)."""
    seen: dict[str, Probe] = {}

    def shape_of(value: object) -> tuple[int, ...] | None:
        return tuple(value.shape) if isinstance(value, Tensor) else None

    def watch(path: str):
        def hook(_module: nn.Module, inputs: tuple, output: object) -> None:
            seen[path] = Probe(shape_of(inputs[0]) if inputs else None, shape_of(output))

        return hook

    hooks = [model.get_submodule(path).register_forward_hook(watch(path)) for path in paths]
    try:
        with evaluation_mode(model):
            model(torch.zeros((1, *size), device=device_of(model), dtype=dtype_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def build(
    block: str | Callable[..., nn.Module], path: str, shape: tuple[int, ...] | None, *, sized: bool, kwargs: dict
) -> nn.Module:
    """The block for a place that carries ``shape``.

    Raises:
        ValueError: the place does not carry (B, C, H, W), or the block cannot be built for its channels or size.
    """
    if shape is None or len(shape) != 4:
        found = "no tensor" if shape is None else f"shape {shape}"
        raise ValueError(f"{path}: a block needs (B, C, H, W), but {found} passes here; use another place")
    if not isinstance(block, str):
        return block(shape[1], **kwargs)
    entry = describe(block)
    if entry.kind != "block" or entry.layout != "image":
        raise ValueError(f"{block!r} is no block for images; use one of list_blocks(layout='image')")
    if entry.needs_size and "size" not in kwargs:
        if not sized:
            raise ValueError(
                f"{path}: the parameters of {block!r} depend on the image size: "
                "give input_size=(C, H, W) of the images that the network is for"
            )
        kwargs = {**kwargs, "size": shape[2:]}
    try:
        return create_block(block, shape[1], **kwargs)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@torch.no_grad()
def starts_as_identity(part: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a block returns its input as it is."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with evaluation_mode(part):
        return torch.equal(part(x), x)


@torch.no_grad()
def check_shape(part: nn.Module, path: str, shape: tuple[int, ...], wanted: tuple[int, ...] | None, where: str) -> None:
    """Refuse a block that does not give the shape that its place needs."""
    try:
        with evaluation_mode(part):
            given = tuple(part(torch.zeros(shape)).shape)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if given != wanted:
        advice = (
            "use where='after', or places whose input and output have one shape"
            if where == "replace"
            else "use a block that keeps the shape"
        )
        raise ValueError(f"{path}: the block turns {shape} into {given}, where {wanted} is needed: {advice}")
