"""Bugs of copies of EfficientFormerV2 and EViT-UNet."""

from mutation import bug

EFFICIENTFORMER, EVIT = "models.efficientformerv2", "models.evit_unet"

MUTATIONS = [
    bug(
        "efficientformerv2_heads_that_do_not_talk",
        EFFICIENTFORMER,
        "evit_unet",
        ("self.talk2(weights) @ heads_of(value)", "weights @ heads_of(value)"),
    ),
    bug(
        "efficientformerv2_talks_behind_the_softmax_alone",
        EFFICIENTFORMER,
        "evit_unet",
        ("self.talk1(weights).softmax(dim=3)", "self.talk1(weights.softmax(dim=3))"),
    ),
    bug(
        "efficientformerv2_stride_attention_repeats_pixels",
        EFFICIENTFORMER,
        "evit_unet",
        ('scale_factor=self.stride, mode="bilinear"', 'scale_factor=self.stride, mode="nearest"'),
    ),
    bug(
        "efficientformerv2_without_locality",
        EFFICIENTFORMER,
        "evit_unet",
        ("pixels_of(y, grid) + self.local(value)", "pixels_of(y, grid)"),
    ),
    bug(
        "efficientformerv2_distances_transposed",
        EFFICIENTFORMER,
        "evit_unet",
        ("dy[:, None, :, None] * side + dx[:, None]", "dy[:, None, :, None] + side * dx[:, None]"),
    ),
    bug(
        "efficientformerv2_attends_in_the_first_blocks",
        EFFICIENTFORMER,
        "efficientformerv2_s0",
        ("if index >= first else None", "if index < num_attention else None"),
    ),
    bug(
        "efficientformerv2_forgets_the_second_head",
        EFFICIENTFORMER,
        "efficientformerv2_s0",
        ("super().forward(torch.cat([x, x], 1))", "self.label(x)"),
    ),
    bug(
        "evit_unet_mirror_attends_at_the_full_resolution",
        EVIT,
        "evit_unet",
        ("attending, side, stage == 2, rates", "attending, side, False, rates"),
    ),
    bug(
        "evit_unet_cross_attention_adds_and_does_not_halve",
        EVIT,
        "evit_unet",
        ("mean((2, 3)))) / 2)", "mean((2, 3)))))"),
    ),
    bug(
        "evit_unet_cross_attention_the_wrong_way_round",
        EVIT,
        "evit_unet",
        ("else cross(g, skip)", "else cross(skip, g)"),
    ),
    bug(
        "evit_unet_skips_taken_before_the_norm",
        EVIT,
        "evit_unet",
        ("norm(maps.pop())", "maps.pop()"),
    ),
    bug(
        "evit_unet_goes_on_with_the_normalised_map", EVIT, "evit_unet", ("g = maps[-1]", "g = self.norms[-1](maps[-1])")
    ),
    bug("evit_unet_joins_in_the_other_order", EVIT, "evit_unet", ("torch.cat([g, ", "torch.cat([")),
    bug(
        "evit_unet_queries_with_corners_apart",
        EVIT,
        "evit_unet",
        ('mode="bilinear", align_corners=True', 'mode="bilinear", align_corners=False'),
    ),
]
