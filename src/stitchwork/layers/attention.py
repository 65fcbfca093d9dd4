"""Attention: a weighted mean of values, whose weights say how well each key answers the query."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers.checks import check_multiple, check_positive


class AttentionWeights(nn.Identity):
    """Passes on the weights of an attention, so that a hook can find them, and says what their axes mean.

    Args:
        axes: the meaning of each axis, from the first to the last.

    Shapes:
        any -> the same
    """

    def __init__(self, axes: tuple[str, ...]):
        super().__init__()
        self.axes = axes


class ScaledDotProduct(nn.Module):
    """softmax(scale · Q Kᵀ + bias) V, in one fused kernel or, to look at the weights, in plain steps.

    Paper: vaswani2017attention, eq. 1. Both forms compute the same; the fused one never holds all N x M weights. While
    ``explicit`` is set (see :func:`explicit_attention`), the weights pass through the submodule ``weights``, where a
    hook finds them as (..., N, M): how much query n takes from key m.

    Args:
        scale: factor on the products; without it 1 / √d for queries of d numbers.
        axes: what the axes of the weights mean, for :func:`~stitchwork.analysis.attention_maps`.

    Shapes:
        q (..., N, d), k (..., M, d), v (..., M, e), bias (of two axes or more, broadcast to (..., N, M))
        -> (..., N, e)
    """

    def __init__(self, scale: float | None = None, axes: tuple[str, ...] = ("image", "head", "query", "key")):
        super().__init__()
        self.scale, self.explicit = scale, False
        self.weights = AttentionWeights(axes)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """(..., N, d), (..., M, d), (..., M, e) -> (..., N, e)."""
        if not self.explicit:
            return F.scaled_dot_product_attention(q, k, v, bias, scale=self.scale)
        scale = q.shape[-1] ** -0.5 if self.scale is None else self.scale
        logits = scale * (q @ k.transpose(-2, -1))  # (..., N, M)
        if bias is not None:
            logits = logits + bias
        return self.weights(logits.softmax(dim=-1)) @ v


@contextmanager
def explicit_attention(model: nn.Module) -> Iterator[None]:
    """All attention of ``model`` in its plain form while the ``with`` lasts: slower, with the weights in sight."""
    parts = [part for part in model.modules() if isinstance(part, ScaledDotProduct)]
    before = [part.explicit for part in parts]
    for part in parts:
        part.explicit = True
    try:
        yield
    finally:
        for part, explicit in zip(parts, before):
            part.explicit = explicit


class SelfAttention(nn.Module):
    """Every token takes from every token, in several heads side by side.

    Paper: vaswani2017attention, section 3.2. Queries, keys and values come from one linear layer; its rows are those
    of all queries, then all keys, then all values, each of them head after head.

    Args:
        dim: numbers C of a token; a multiple of ``num_heads``.
        num_heads: heads, each of C / ``num_heads`` numbers.
        qkv_bias: biases of queries, keys and values.
        scale: factor on the products; without it 1 / √(C / ``num_heads``).

    Shapes:
        (B, N, C) -> (B, N, C)

    Raises:
        ValueError: an argument is not positive, or the heads do not divide the channels.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True, scale: float | None = None):
        super().__init__()
        check_positive("SelfAttention", dim=dim, num_heads=num_heads)
        check_multiple("SelfAttention", dim, num_heads=num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attend = ScaledDotProduct(scale)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        y = self.attend(q, k, v)  # (B, heads, N, d)
        return self.proj(y.transpose(1, 2).flatten(2))
