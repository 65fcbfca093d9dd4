"""ViT: an image is a sentence of patches, and a plain transformer reads it.

Paper: dosovitskiy2021image, section 3.1 and table 1. Patches of p x p pixels are mapped linearly to tokens, a learned
class token is put in front, learned positions are added, and L blocks of attention and feed-forward follow; the class
token's last state is classified:

    z_0 = [x_class; x_1 E; ...; x_N E] + E_pos          eq. 1
    z'  = z + MSA(LN(z))                                eq. 2
    z   = z' + MLP(LN(z'))                              eq. 3
    y   = head(LN(z_class))                             eq. 4

Nothing in it knows that pixels have neighbours, but the patches and what the positions learn.

Cost, with N = HW / p^2 + 1 tokens of C numbers: a block has 12 C^2 + 13 C parameters and takes 12 N C^2 + 2 N^2 C
multiply-adds. ViT-B/16 at 224 pixels: 86.6 M parameters, 17.6 G multiply-adds.

Where this differs: nothing from timm's, which has the official weights; both leave out the hidden layer that the
paper's head has in pre-training. Images of another size than 224 pixels get interpolated positions as in timm
(bicubic, antialiased; the official code interpolates linearly), and are filled up with zeros to whole patches. Copies
average over the tokens, or forget the normalisation in front of the head.
"""

from functools import partial

import torch
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    Mlp,
    PatchEmbed,
    PositionTable,
    SelfAttention,
    TransformerBlock,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "dosovitskiy2021image"
CHAPTER = "17_vision_transformer"


class ViT(Classifier):
    """Classifier of image patches.

    Args:
        dim: numbers C of a token; a multiple of ``num_heads``.
        depth: blocks L.
        num_heads: heads of the attention.
        patch_size: side p of a patch in pixels.
        num_classes: number of logits; 0 gives the class token's last state (B, dim).
        in_chans: channels of the input image.
        image_size: side of the images that the positions are learned on; others get interpolated positions.
        mlp_ratio: width of the feed-forward part over ``dim``.
        dropout: probability with which a number of the class token is dropped before the head in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    extra_tokens = 1  # in front of those of the patches

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        patch_size: int = 16,
        num_classes: int = 1000,
        in_chans: int = 3,
        image_size: int = 224,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive(
            "ViT",
            dim=dim,
            depth=depth,
            num_heads=num_heads,
            patch_size=patch_size,
            image_size=image_size,
            mlp_ratio=mlp_ratio,
        )
        super().__init__(in_chans, dim, dropout, head_features=self.extra_tokens * dim)
        grid = -(-image_size // patch_size)
        self.patch_embed = PatchEmbed(in_chans, dim, patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = PositionTable((grid, grid), dim, prefix=self.extra_tokens)
        (rates,) = drop_path_rates(drop_path_rate, (depth,))
        self.blocks = nn.Sequential(
            *[
                TransformerBlock(dim, SelfAttention(dim, num_heads), Mlp(dim, int(mlp_ratio * dim)), rate)
                for rate in rates
            ]
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def first_tokens(self) -> list[Tensor]:
        """What stands in front of the patches: the class token (1, 1, dim)."""
        return [self.class_token]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> the tokens (B, 1 + N, dim), the class token first."""
        self.check_input(x)
        x = self.patch_embed(x)  # (B, h, w, dim)
        grid = x.shape[1:3]
        first = [token.expand(x.shape[0], -1, -1) for token in self.first_tokens()]
        x = torch.cat([*first, x.flatten(1, 2)], dim=1)  # (B, 1 + N, dim)
        x = self.positions(x, grid)
        return self.norm(self.blocks(x))

    def pre_logits(self, x: Tensor) -> Tensor:
        """The class token: (B, 1 + N, dim) -> (B, dim)."""
        return x[:, : self.extra_tokens].flatten(1)


MODELS = {
    "vit_tiny_patch16": partial(ViT, dim=192, depth=12, num_heads=3),
    "vit_small_patch16": partial(ViT, dim=384, depth=12, num_heads=6),
    "vit_base_patch16": partial(ViT, dim=768, depth=12, num_heads=12),
    "vit_base_patch32": partial(ViT, dim=768, depth=12, num_heads=12, patch_size=32),
    "vit_large_patch16": partial(ViT, dim=1024, depth=24, num_heads=16),
    "vit_huge_patch14": partial(ViT, dim=1280, depth=32, num_heads=16, patch_size=14),
}
REFERENCES = {name: (f"timm:{name}_224",) for name in MODELS}
