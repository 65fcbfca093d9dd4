"""Bugs of copies of U-Net, Attention U-Net, UNet++, Swin-Unet, DeepLabV3 and FCN.

The recorded outputs show those of the first three as well, but at full size, which takes ten times as long.
"""

from mutation import bug

UNET, GATED, NESTED, SWIN = "models.unet", "models.attention_unet", "models.unet_plus_plus", "models.swin_unet"
RESNET, SEGMENTER = "models.resnet", "layers.segmenter"
TEST_UNET, TEST_GATED, TEST_NESTED = (f"models/test_{name}.py" for name in ("unet", "attention_unet", "unet_plus_plus"))

MUTATIONS = [
    bug(
        "unet_joins_the_decoders_map_first",
        UNET,
        TEST_UNET,
        ("[x, skip] if self.own_first else [skip, x]", "[x, skip]"),
    ),
    bug(
        "unet_interpolates_without_aligned_corners",
        UNET,
        "unet_bilinear",
        ('mode="bilinear", align_corners=True)', 'mode="bilinear", align_corners=False)'),
    ),
    bug(
        "unet_decoder_with_normalisation",
        UNET,
        "unet_half",
        ("DoubleWithoutNorm(2 * dim, dim), own_first", "Double(2 * dim, dim, bias=True), own_first"),
    ),
    bug(
        "attention_unet_gates_the_decoder",
        GATED,
        TEST_GATED,
        ("self.gate(x, skip)", "self.gate(skip, x)"),
    ),
    bug(
        "attention_unet_doubles_by_interpolation",
        GATED,
        TEST_GATED,
        ('mode="nearest"', 'mode="bilinear"'),
    ),
    bug(
        "unet_plus_plus_takes_from_the_first_column",
        NESTED,
        TEST_NESTED,
        ("rows[i + 1][j - 1], size", "rows[i + 1][0], size"),
    ),
    bug(
        "swin_unet_expands_columns_first",
        SWIN,
        "swin_unet_tiny",
        ("x.transpose(2, 3).flatten(3, 4).flatten(1, 2)", "x.permute(0, 1, 4, 2, 3, 5).flatten(3, 4).flatten(1, 2)"),
    ),
    bug(
        "swin_unet_without_a_norm_at_the_bottom",
        SWIN,
        "swin_unet_tiny",
        ("x = self.bottom_norm(x)", "x = x + 0 * self.bottom_norm(x)"),
    ),
    bug(
        "deeplab_dilates_the_first_block_at_once",
        RESNET,
        "deeplabv3_resnet50",
        ("stride4, (apart3, apart4)", "stride4, (apart4, apart4)"),
    ),
    bug(
        "fcn_scales_up_with_aligned_corners",
        SEGMENTER,
        "fcn_resnet50",
        ('mode="bilinear")', 'mode="bilinear", align_corners=True)'),
    ),
]
