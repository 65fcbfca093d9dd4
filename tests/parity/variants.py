"""Recorded configurations other than the default: how ours is built to equal them."""

from stitchwork import create_block

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
    ("se", "without_bias"): lambda: create_block("se", 64, bias=False),
    ("snake_conv", "along_y"): lambda: create_block("snake_conv", 64, along="y"),
}
# (name, label): why a recorded popular version is neither a configuration of ours nor an erratum.
NOT_REBUILT: dict[tuple[str, str], str] = {}
