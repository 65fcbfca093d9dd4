"""MLP-Mixer: no convolution, no attention, only perceptrons that look along one axis at a time.

Paper: tolstikhin2021mixer, section 2. The image becomes patches as in ViT. A block first lets the patches talk, by a
perceptron over the patches that all channels share, then the channels of each patch:

    U = X + W_2 gelu(W_1 LN(X)ᵀ)ᵀ       over the patches, eq. 1
    Y = U + W_4 gelu(W_3 LN(U))         over the channels

The mixing of patches has a weight for each pair of places, so that no image can have another number of patches.

Cost, with N patches of C numbers, hidden widths D_S = C / 2 and D_C = 4 C: a block has 2 N D_S + 2 C D_C weights and
takes C times the first and N times the second number of multiply-adds: linear in the pixels, where attention is not.

Where this differs: nothing from timm's, which has the official weights. Copies that call F.linear with fresh tensors
train nothing of it.
"""

from functools import partial

from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    DropPath,
    Mlp,
    PatchEmbed,
    check_positive,
    check_size,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "tolstikhin2021mixer"
CHAPTER = "17_vision_transformer"


class MixerBlock(nn.Module):
    """A perceptron over the patches, then one over the channels.

    Args:
        tokens: number N of patches.
        dim: numbers C of a token.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, N, C) -> (B, N, C)
    """

    def __init__(self, tokens: int, dim: int, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp_tokens = Mlp(tokens, dim // 2)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp_channels = Mlp(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        y = self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)  # (B, N, C)
        x = x + self.drop_path(y)
        return x + self.drop_path(self.mlp_channels(self.norm2(x)))


class MlpMixer(Classifier):
    """Classifier of image patches, for images of one size.

    Args:
        dim: numbers C of a token.
        depth: blocks.
        patch_size: side of a patch in pixels.
        num_classes: number of logits; 0 gives the pooled features (B, dim).
        in_chans: channels of the input image.
        size: height and width of all images.
        dropout: probability with which a pooled feature is dropped in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes) with (H, W) = ``size``

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        size: tuple[int, int] = (224, 224),
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("MlpMixer", dim=dim, depth=depth, patch_size=patch_size, size=min(size))
        super().__init__(in_chans, dim, dropout)
        self.size = tuple(size)
        tokens = -(-size[0] // patch_size) * -(-size[1] // patch_size)
        self.patch_embed = PatchEmbed(in_chans, dim, patch_size)
        (rates,) = drop_path_rates(drop_path_rate, (depth,))
        self.blocks = nn.Sequential(*[MixerBlock(tokens, dim, rate) for rate in rates])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> the tokens (B, N, dim)."""
        self.check_input(x)
        check_size(x, self.size, "MlpMixer")
        x = self.patch_embed(x).flatten(1, 2)  # (B, N, dim)
        return self.norm(self.blocks(x))

    def pre_logits(self, x: Tensor) -> Tensor:
        """The mean over the tokens: (B, N, dim) -> (B, dim)."""
        return x.mean(1)


MODELS = {
    "mlp_mixer_s16": partial(MlpMixer, dim=512, depth=8, patch_size=16),
    "mlp_mixer_s32": partial(MlpMixer, dim=512, depth=8, patch_size=32),
    "mlp_mixer_b16": partial(MlpMixer, dim=768, depth=12, patch_size=16),
    "mlp_mixer_b32": partial(MlpMixer, dim=768, depth=12, patch_size=32),
    "mlp_mixer_l16": partial(MlpMixer, dim=1024, depth=24, patch_size=16),
}
REFERENCES = {name: (f"timm:{name.removeprefix('mlp_')}_224",) for name in MODELS}
