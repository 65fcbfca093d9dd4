"""Where a network looks: the weights of all its attention."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stitchwork.analysis.evaluation import evaluation_mode
from stitchwork.layers import explicit_attention


@dataclass(frozen=True)
class AttentionMap:
    """The weights of one attention.

    Attributes:
        layer: path of the attention in the network.
        weights: numbers that sum to one over the keys, of shape (..., queries, keys) where the attention is a matrix.
        axes: what each axis of ``weights`` means.
    """

    layer: str
    weights: Tensor
    axes: tuple[str, ...]


@torch.no_grad()
def attention_maps(model: nn.Module, x: Tensor) -> list[AttentionMap]:
    """The attention weights of a network for a batch, in evaluation, in the order in which they are computed.

    While it runs, attention is computed in its plain form, so that the weights exist; with tokens by the thousand that
    takes memory. Performers (T2T-ViT's tokens) have no weights to show.

    Args:
        model: a network; it is left as it was.
        x: images (B, C, H, W).

    Returns:
        One map for each attention, and for each call of it; tensors are detached.

    Raises:
        ValueError: the network has no attention.
    """
    found: list[AttentionMap] = []

    def keep(path: str, axes: tuple[str, ...]):
        def hook(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
            found.append(AttentionMap(path, output.detach().clone(), axes))

        return hook

    handles = [
        part.register_forward_hook(keep(path.rpartition(".")[0], part.axes))
        for path, part in model.named_modules()
        if isinstance(getattr(part, "axes", None), tuple)
    ]
    if not handles:
        raise ValueError(f"{type(model).__name__} has no attention to look at: take a transformer")
    try:
        with evaluation_mode(model), explicit_attention(model):
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found
