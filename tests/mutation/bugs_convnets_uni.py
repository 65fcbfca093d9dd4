"""Plausible bugs of UniRepLKNet and RepNeXt."""

from mutation import bug

MUTATIONS = [
    bug(
        "unireplknet_companions_not_dilated",
        "models.unireplknet",
        "unireplknet_a",
        ("groups=dim, dilation=dilation, act=None", "groups=dim, dilation=1, act=None"),
    ),
    bug(
        "unireplknet_response_over_channels",
        "models.unireplknet",
        "unireplknet_a",
        ("norm / (norm.mean(1, keepdim=True) + 1e-6)", "norm / (norm.mean() + 1e-6)"),
    ),
    bug(
        "repnext_one_head_in_evaluation",
        "models.repnext",
        "repnext_m0",
        ("return (self.label(x) + self.teacher(x)) / 2", "return self.label(x)"),
    ),
    bug(
        "repnext_downsampling_norm_inside_the_branch",
        "models.repnext",
        "repnext_m0",
        (
            "x = self.norm(self.mixer(x))  # (B, 2C, H / 2, W / 2)\n        y = self.mlp(x)",
            "x = self.mixer(x)\n        y = self.mlp(self.norm(x))",
        ),
    ),
]
