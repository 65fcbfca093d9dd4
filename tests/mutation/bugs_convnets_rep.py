"""Bugs in RepVGG and in the folding of normalisations."""

from mutation import bug

REPVGG, FOLD = "models.repvgg", "layers.fused_conv"

MUTATIONS = [
    bug(
        "repvgg_identity_of_the_whole_in_a_group",
        REPVGG,
        "repvgg_b1g4",
        (".repeat(groups, 1)  # (C, C / groups)", ".roll(1, 0).repeat(groups, 1)"),
    ),
    bug("repvgg_shift_of_the_identity_lost", REPVGG, "repvgg_a0", ("bias = bias + shift", "bias = bias + 0 * shift")),
    bug("repvgg_stride_forgotten_in_fusing", REPVGG, "repvgg_a0", ("dense.stride, dense.padding", "1, dense.padding")),
    bug("repvgg_identity_without_a_norm", REPVGG, "repvgg_a0", ("y += self.identity(x)", "y += x")),
    bug("repvgg_every_block_grouped", REPVGG, "repvgg_b1g4", ("groups if i % 2 else 1", "groups")),
    bug("fold_with_a_wrong_eps", FOLD, "repvgg_a0", (".double() + norm.eps)", ".double() + 1e-3)")),
    bug("fold_forgets_the_mean", FOLD, "resnet18", ("shift = -norm.running_mean", "shift = -0 * norm.running_mean")),
    bug(
        "pad_kernel_to_a_corner",
        FOLD,
        "repvgg_a0",
        ("(columns // 2, columns // 2, rows // 2, rows // 2)", "(0, columns, 0, rows)"),
    ),
]
