"""Bugs that copies of EfficientNet and EfficientNetV2 have."""

from mutation import bug

EFFICIENTNET, V2, MBCONV = "models.efficientnet", "models.efficientnet_v2", "layers.mb_conv"

MUTATIONS = [
    bug("efficientnet_gate_from_expanded", MBCONV, "efficientnet_b0", ("max(1, dim // 4)", "max(1, hidden // 4)")),
    bug(
        "efficientnet_gate_with_relu",
        MBCONV,
        "efficientnet_b0",
        ("max(1, dim // 4), act=SiLU, inplace=True", "max(1, dim // 4), inplace=True"),
    ),
    bug("efficientnet_floors_depth", EFFICIENTNET, "efficientnet_b1", ("math.ceil(n * depth", "math.floor(n * depth")),
    bug(
        "efficientnet_rounds_to_eight_without_the_tenth",
        EFFICIENTNET,
        "efficientnet_b3",
        ("make_divisible(c * width_multiplier)", "max(8, round(c * width_multiplier / 8) * 8)"),
    ),
    bug(
        "efficientnet_head_does_not_widen",
        EFFICIENTNET,
        "efficientnet_b2",
        ("make_divisible(1280 * width_multiplier)", "1280"),
    ),
    bug(
        "efficientnet_eps_of_pytorch",
        EFFICIENTNET,
        "efficientnet_b5",
        ("eps=1e-3, momentum=0.01)\n", "eps=1e-5, momentum=0.01)\n"),
    ),
    bug(
        "efficientnet_v2_projects_with_silu",
        V2,
        "efficientnet_v2_s",
        ("ConvNormAct(hidden, out_dim, act=None", "ConvNormAct(hidden, out_dim, act=SiLU"),
    ),
    bug("efficientnet_v2_eps_of_pytorch", V2, "efficientnet_v2_s", ("eps=1e-3)\n", "eps=1e-5)\n")),
    bug(
        "efficientnet_v2_first_version", V2, "efficientnet_v2_s", ("(MBConv, 6, 256, 15, 2)", "(MBConv, 6, 272, 15, 2)")
    ),
]
