"""Two networks that should be equal are not: where do they part?"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher

import torch
from torch import Tensor, nn

from stitchwork.analysis.evaluation import evaluation_mode, first_tensor


@dataclass(frozen=True)
class Difference:
    """The first place where two networks give different numbers.

    Attributes:
        ours, theirs: paths of the two layers; ``"(output)"`` if only the end result differs.
        our_shape, their_shape: shapes of their outputs.
        deviation: largest absolute difference of the outputs; infinite if shapes differ or a number is not finite.
        only_ours, only_theirs: layers that ran after the last equal pair and have no partner, the usual suspects.
    """

    ours: str
    theirs: str
    our_shape: tuple[int, ...]
    their_shape: tuple[int, ...]
    deviation: float
    only_ours: tuple[str, ...]
    only_theirs: tuple[str, ...]

    def __str__(self) -> str:
        """The difference in up to four lines."""
        lines = [f"first differing layer: ours {self.ours} {self.our_shape}, theirs {self.theirs} {self.their_shape}"]
        comparable = _without_ones(self.our_shape) == _without_ones(self.their_shape)
        lines.append(f"  largest deviation {self.deviation:.3g}" if comparable else "  the shapes differ")
        for side, layers in (("ours", self.only_ours), ("theirs", self.only_theirs)):
            if layers:
                lines.append(f"  only in {side} since the last equal layer: {', '.join(layers)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Call:
    """One call of one layer."""

    path: str
    kind: tuple
    output: Tensor

    def __str__(self) -> str:
        return f"{self.path} ({self.kind[0]})"


@torch.no_grad()
def first_differing_layer(ours: nn.Module, theirs: nn.Module, *inputs: Tensor, atol: float = 1e-4) -> Difference | None:
    """Run two networks on the same input and find the first layer whose outputs differ.

    Layers without children (convolutions, norms, linear layers, activations, poolings) are paired in the order in which
    they run, by class and, if they have weights, by the shape of those instead: names do not matter, and a layer that
    only one side has (a function there, a module here) is passed over. Both run in evaluation mode, which is restored.

    Args:
        ours: a network.
        theirs: the one it should be equal to, with the same weights.
        *inputs: what both are given, each its own copy.
        atol: the absolute deviation that is forgiven, in each layer and in the output.

    Returns:
        ``None`` if the outputs are equal, or else where the two part; print it.

    Raises:
        TypeError: a network that returns no tensor.
    """
    with evaluation_mode(ours, theirs):
        our_calls, our_output = _trace(ours, inputs)
        their_calls, their_output = _trace(theirs, inputs)
    end = _Call("(output)", ("output",), our_output), _Call("(output)", ("output",), their_output)
    if _deviation(*end) <= atol:
        return None

    matcher = SequenceMatcher(None, [c.kind for c in our_calls], [c.kind for c in their_calls], autojunk=False)
    our_last = their_last = -1
    for our_start, their_start, length in matcher.get_matching_blocks():
        for i, j in zip(range(our_start, our_start + length), range(their_start, their_start + length)):
            if _deviation(our_calls[i], their_calls[j]) > atol:
                end = our_calls[i], their_calls[j]
                return _difference(*end, our_calls[our_last + 1 : i], their_calls[their_last + 1 : j])
            our_last, their_last = i, j
    return _difference(*end, our_calls[our_last + 1 :], their_calls[their_last + 1 :])


def _trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[list[_Call], Tensor]:
    """Every call of a layer without children, in order, and the output; without those that do nothing in evaluation."""
    calls: list[_Call] = []

    def record(path: str, kind: tuple) -> Callable:
        def hook(_module: nn.Module, _inputs: tuple, output: object) -> None:
            calls.append(_Call(path, kind, first_tensor(output).clone()))

        return hook

    handles = [
        part.register_forward_hook(record(path, _kind(part)))
        for path, part in module.named_modules()
        if not any(part.children()) and not isinstance(part, nn.Identity | nn.modules.dropout._DropoutNd)
    ]
    try:
        output = first_tensor(module(*[x.clone() for x in inputs]))
    finally:
        for handle in handles:
            handle.remove()
    return calls, output


def _kind(part: nn.Module) -> tuple:
    """What two layers must share to be paired; a 1x1 convolution pairs with a linear layer."""
    weight = getattr(part, "weight", None)
    if not isinstance(weight, Tensor):
        return (type(part).__name__,)
    return "norm" if weight.dim() == 1 else "weights", *_without_ones(weight.shape)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _deviation(ours: _Call, theirs: _Call) -> float:
    a, b = ours.output.squeeze(), theirs.output.squeeze()
    if a.shape != b.shape:
        return math.inf
    if not a.numel():
        return 0.0
    worst = (a - b).abs().max().item()
    return worst if math.isfinite(worst) else math.inf


def _difference(ours: _Call, theirs: _Call, only_ours: list[_Call], only_theirs: list[_Call]) -> Difference:
    return Difference(
        ours.path,
        theirs.path,
        tuple(ours.output.shape),
        tuple(theirs.output.shape),
        _deviation(ours, theirs),
        tuple(map(str, only_ours)),
        tuple(map(str, only_theirs)),
    )
