"""Recorded configurations other than the default: how ours is built to equal them."""

import torch
from torch import nn

from stitchwork import create_block


class SideBySide(nn.Module):
    """Several linear layers in the place of one that gives all their outputs."""

    def __init__(self, layers: int, dim: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))

    def forward(self, x):
        return torch.cat([layer(x) for layer in self.layers], -1)


def emsa_with_split_projection():
    block = create_block("emsa", 64)
    block.kv = SideBySide(2, 64)
    return block


VARIANTS = {
    ("aft_full", "with_projection"): lambda: create_block("aft_full", 64, size=(14, 14), project=True),
    ("aspp", "width_256"): lambda: create_block("aspp", 64, out_dim=256),
    ("clo_attention", "popular_copy"): lambda: create_block(
        "clo_attention", 64, num_heads=8, group_split=(4, 4), window_size=4
    ),
    ("criss_cross", "twice"): lambda: create_block("criss_cross", 64, recurrence=2),
    ("danet", "head"): lambda: create_block("danet", 256, out_dim=19, auxiliary=True),
    ("deformable_conv", "v1"): lambda: create_block("deformable_conv_v1", 64),
    ("deformable_conv", "v3"): lambda: create_block("deformable_conv_v3", 64),
    ("dilated_conv", "context_module"): lambda: create_block("context_module", 64),
    ("ema", "popular_copy"): lambda: create_block("ema", 64, factor=8),
    ("emsa", "split_key_and_value"): emsa_with_split_projection,
    ("external_attention", "multi_head"): lambda: create_block("multi_head_external_attention", 64),
    ("fca", "dct_7"): lambda: create_block("fca", 64, size=(7, 7)),
    ("gated_dilated_inception", "without_gate"): lambda: create_block("gated_dilated_inception", 32).filter,
    ("irmb", "popular_copy"): lambda: create_block(
        "irmb",
        64,
        exp_ratio=1.0,
        norm_layer="bn_2d",
        act_layer="relu",
        dw_ks=3,
        dim_head=64,
        qkv_bias=False,
        attn_pre=False,
    ),
    ("msda", "two_dilations"): lambda: create_block("msda", 64, num_heads=8, dilation=(1, 3)),
    ("se", "without_bias"): lambda: create_block("se", 64, bias=False),
    ("snake_conv", "along_y"): lambda: create_block("snake_conv", 64, along="y"),
}
# (name, label): why a recorded popular version is neither a configuration of ours nor an erratum.
NOT_REBUILT: dict[tuple[str, str], str] = {}
