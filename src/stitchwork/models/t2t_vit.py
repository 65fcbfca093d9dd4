"""T2T-ViT: make tokens gently, by attention over overlapping patches, then run a thin and deep transformer.

Paper: yuan2021tokens, sections 3.1 and 3.2, tables 1 and 2. ViT cuts 16 x 16 pixels hard into a token, and edges and
corners are lost before anything has looked at them. The tokens-to-token module makes overlapping patches (7 x 7 with
stride 4), transforms them to 64 numbers, lays the tokens out as an image again, and does it twice more with patches of
3 x 3 and stride 2. The transformation is attention among 3136, then 784 tokens; a performer
(choromanski2021rethinking) computes it in linear time, by positive random features:

    phi(x) = exp(w x - |x|^2 / 2) / √m              w: m fixed random rows
    y      = phi(q) (phi(k)ᵀ v) / (phi(q) Σ phi(k)),  out = v + W y

Cost: the performers are linear in the tokens, those of T2T-ViT_t are not. T2T-ViT-14: 21.5 M parameters, 4.8 G
multiply-adds.

Where this differs: nothing from the official code at 224 pixels. The random rows and the sinusoids of the positions are
parameters that are not trained, as there. The plain transformer scales by the width of its *input*, 147 or 576, as
there, and not by that of its heads. The skip is from the values. For another size the positions are interpolated
(bicubic), where the official code needs its resize script.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    Mlp,
    PositionTable,
    ScaledDotProduct,
    SelfAttention,
    TransformerBlock,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "yuan2021tokens"
CHAPTER = "17_vision_transformer"

HEAD_DIM, TOKEN_DIM = 64, 64
SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))  # kernel, stride and padding of the three soft splits


class Performer(nn.Module):
    """Attention by random features, from ``dim`` numbers to 64, and a perceptron.

    Args:
        dim: numbers C of an incoming token.
        features: m, random features.

    Shapes:
        (B, N, C) -> (B, N, 64)
    """

    def __init__(self, dim: int, features: int = TOKEN_DIM // 2):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.kqv = nn.Linear(dim, 3 * TOKEN_DIM)
        self.random = nn.Parameter(torch.empty(features, TOKEN_DIM), requires_grad=False)
        nn.init.orthogonal_(self.random, math.sqrt(features))
        self.proj = nn.Linear(TOKEN_DIM, TOKEN_DIM)
        self.norm2 = nn.LayerNorm(TOKEN_DIM)
        self.mlp = Mlp(TOKEN_DIM, TOKEN_DIM)

    def positive(self, x: Tensor) -> Tensor:
        """The random features: (B, N, 64) -> (B, N, m)."""
        exponent = x @ self.random.T - x.square().sum(-1, keepdim=True) / 2
        return exponent.exp() / math.sqrt(len(self.random))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, 64)."""
        k, q, v = self.kqv(self.norm1(x)).chunk(3, -1)  # (B, N, 64) each; the keys come first
        k, q = self.positive(k), self.positive(q)  # (B, N, m) each
        total = q @ k.sum(1)[..., None]  # (B, N, 1)
        y = q @ (k.transpose(1, 2) @ v) / (total + 1e-8)  # (B, N, 64)
        y = v + self.proj(y)
        return y + self.mlp(self.norm2(y))


class TokenTransformer(nn.Module):
    """Attention of one head, from ``dim`` numbers to 64, and a perceptron.

    Args:
        dim: numbers C of an incoming token.

    Shapes:
        (B, N, C) -> (B, N, 64)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * TOKEN_DIM, bias=False)
        self.attend = ScaledDotProduct(dim**-0.5)
        self.proj = nn.Linear(TOKEN_DIM, TOKEN_DIM)
        self.norm2 = nn.LayerNorm(TOKEN_DIM)
        self.mlp = Mlp(TOKEN_DIM, TOKEN_DIM)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, 64)."""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)  # (B, N, 64) each
        y = self.attend(q[:, None], k[:, None], v[:, None])[:, 0]  # (B, N, 64), by a single head
        y = v + self.proj(y)
        return y + self.mlp(self.norm2(y))


class TokensToToken(nn.Module):
    """Three soft splits with two transformations between them.

    Args:
        in_chans: channels of the image.
        dim: numbers of a token at the end.
        performer: transform by performers, or else by plain attention.

    Shapes:
        (B, in_chans, H, W) -> (B, dim, h, w) with h = ceil(floor((H + 1) / 4) / 4), and w alike
    """

    def __init__(self, in_chans: int, dim: int, performer: bool = True):
        super().__init__()
        transform = Performer if performer else TokenTransformer
        self.transforms = nn.ModuleList([transform(49 * in_chans), transform(9 * TOKEN_DIM)])
        self.project = nn.Linear(9 * TOKEN_DIM, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, dim, h, w)."""
        for (kernel, stride, padding), transform in zip(SPLITS, (*self.transforms, self.project)):
            grid = [(side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:]]
            tokens = F.unfold(x, kernel, stride=stride, padding=padding).transpose(1, 2)  # (B, N, k^2 C)
            x = transform(tokens).transpose(1, 2).unflatten(2, grid)  # (B, 64, h, w), or dim
        return x


class T2TViT(Classifier):
    """Tokens-to-token module and a transformer.

    Args:
        dim: numbers C of a token; a multiple of 64, the width of a head.
        depth: blocks.
        mlp_ratio: width of the feed-forward part over ``dim``.
        performer: the tokens-to-token module has performers, or else plain attention.
        num_classes: number of logits; 0 gives the class token's last state (B, dim).
        in_chans: channels of the input image.
        dropout: probability with which a number of the class token is dropped before the head in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first (0.1 in the paper).

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), H and W at least 3.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 3

    def __init__(
        self,
        dim: int,
        depth: int,
        mlp_ratio: float,
        performer: bool = True,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("T2TViT", dim=dim, depth=depth, mlp_ratio=mlp_ratio)
        check_multiple("T2TViT", dim, head_dim=HEAD_DIM)
        super().__init__(in_chans, dim, dropout)
        self.tokens_to_token = TokensToToken(in_chans, dim, performer)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = PositionTable((14, 14), dim, prefix=1)
        self.positions.table = nn.Parameter(sinusoids(14 * 14 + 1, dim)[None], requires_grad=False)
        (rates,) = drop_path_rates(drop_path_rate, (depth,))
        self.blocks = nn.Sequential()
        for rate in rates:
            attn = SelfAttention(dim, dim // HEAD_DIM, qkv_bias=False)
            self.blocks.append(TransformerBlock(dim, attn, Mlp(dim, int(mlp_ratio * dim)), rate, eps=1e-5))
        self.norm = nn.LayerNorm(dim)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> the tokens (B, 1 + N, dim), the class token first."""
        self.check_input(x)
        x = self.tokens_to_token(x)  # (B, dim, h, w)
        grid = x.shape[2:]
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)], 1)
        return self.norm(self.blocks(self.positions(x, grid)))

    def pre_logits(self, x: Tensor) -> Tensor:
        """The class token: (B, 1 + N, dim) -> (B, dim)."""
        return x[:, 0]


def sinusoids(count: int, dim: int) -> Tensor:
    """Positions as waves (vaswani2017attention, section 3.5): (count, dim), sines in even columns, cosines in odd."""
    column = torch.arange(dim)
    angle = torch.arange(count)[:, None] / 10000 ** (2 * (column // 2) / dim)  # (count, dim)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())


MODELS = {
    "t2t_vit_7": partial(T2TViT, dim=256, depth=7, mlp_ratio=2),
    "t2t_vit_14": partial(T2TViT, dim=384, depth=14, mlp_ratio=3),
    "t2t_vit_19": partial(T2TViT, dim=448, depth=19, mlp_ratio=3),
    "t2t_vit_t_14": partial(T2TViT, dim=384, depth=14, mlp_ratio=3, performer=False),
}
REFERENCES = {name: ("recorded:t2t_vit_7",) if name == "t2t_vit_7" else (f"counted:{name}",) for name in MODELS}
