"""The transformer's block: first the tokens talk, then each one thinks."""

from torch import Tensor, nn

from stitchwork.layers.drop_path import DropPath


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each normalised at its entrance and added to what came in.

    Paper: dosovitskiy2021image, eqs. 2 and 3. What the attention is, each network says.

        x' = x + attention(LN(x))
        y  = x' + mlp(LN(x'))

    Args:
        dim: numbers C of a token.
        attn: lets the tokens talk, (..., C) -> (..., C).
        mlp: works on each token, (..., C) -> (..., C).
        drop_path: probability with which an image loses a branch in training.
        eps: of the normalisations.

    Shapes:
        (B, ..., C) -> (B, ..., C)
    """

    def __init__(self, dim: int, attn: nn.Module, mlp: nn.Module, drop_path: float = 0.0, eps: float = 1e-6):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, eps=eps), attn
        self.norm2, self.mlp = nn.LayerNorm(dim, eps=eps), mlp
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., C) -> (B, ..., C)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
