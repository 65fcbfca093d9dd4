"""Fold a trained network into the fewer layers that compute the same."""

import copy

from torch import nn


def fuse(model: nn.Module) -> nn.Module:
    """The same function with fewer layers: BatchNorms folded into convolutions, parallel branches into one.

    Every module that has a method ``fused()`` is replaced by what that gives: the blocks of RepVGG, UniRepLKNet and
    RepNeXt, and convolutions with a BatchNorm in all networks (ding2021repvgg, section 3.3). The result has the same
    methods as the network, such as ``forward_pyramid``; it is for evaluation only, and says so when it is asked to
    train. Its weights can be saved with ``save_safetensors`` and loaded into another fused network.

    Args:
        model: a trained network; it stays as it is.

    Returns:
        A fused copy in evaluation mode, whose outputs differ by rounding only.

    Raises:
        ValueError: there is nothing to fold.
    """
    root = copy.deepcopy(model).eval()
    fused = _fused(root)
    if fused is None:
        raise ValueError(
            f"{type(model).__name__} has nothing to fold: none of its parts has a method fused(); "
            "is it fused already, or a network without BatchNorm?"
        )
    return fused.eval().requires_grad_(False)


def _fused(module: nn.Module) -> nn.Module | None:
    """The module with its parts replaced, or None where nothing was."""
    if hasattr(module, "fused"):
        return module.fused()
    changed = False
    for name, part in module.named_children():
        replacement = _fused(part)
        if replacement is not None:
            setattr(module, name, replacement)
            changed = True
    return module if changed else None
