"""See what a layer inside a network puts out."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

from torch import Tensor, nn

from stitchwork.analysis.evaluation import first_tensor


@contextmanager
def capture(module: nn.Module, pattern: str) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the submodules whose path matches a glob, while the ``with`` lasts.

    >>> with capture(net, "*gate*") as maps:
    ...     net(x)
    >>> maps["layer1.0.se.gate"].shape

    The outputs are detached copies: an in-place activation that follows would otherwise overwrite them. A submodule
    that runs more than once leaves its last output. If it returns a tuple, list or dict, the first tensor is taken.

    Args:
        module: where to look.
        pattern: a glob on the paths of ``module.named_modules()``; ``*`` also matches dots. ``"*"`` is everything.

    Yields:
        Path to output, filled as the module runs, in the order in which the submodules finish.

    Raises:
        ValueError: nothing matches; the message has the nearest paths.
    """
    parts = dict(module.named_modules())
    parts.pop("")
    matching = [path for path in parts if fnmatchcase(path, pattern)]
    if not matching:
        near = difflib.get_close_matches(pattern, parts, n=5, cutoff=0.3) or list(parts)[:5]
        raise ValueError(
            f"no submodule of {type(module).__name__} matches {pattern!r}; "
            + (f"among its paths are {', '.join(near)}" if near else "it has no submodules")
        )
    outputs: dict[str, Tensor] = {}

    def keep(path: str):
        def hook(_module: nn.Module, _inputs: tuple, output: object) -> None:
            outputs[path] = first_tensor(output).detach().clone()

        return hook

    handles = [parts[path].register_forward_hook(keep(path)) for path in matching]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
