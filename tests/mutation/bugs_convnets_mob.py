"""Bugs of copies of MobileNetV3, of the two ShuffleNets and of FasterNet."""

from mutation import bug

V3, SHUFFLE1 = "models.mobilenet_v3", "models.shufflenet_v1"
SHUFFLE2, FASTER = "models.shufflenet_v2", "models.fasternet"

MUTATIONS = [
    bug(
        "mobilenet_v3_gate_with_a_true_sigmoid",
        V3,
        "mobilenet_v3_small",
        ("gate=nn.Hardsigmoid", "gate=nn.Sigmoid"),
    ),
    bug("mobilenet_v3_usual_eps", V3, "mobilenet_v3_small", ("eps: float = 1e-3", "eps: float = 1e-5")),
    bug(
        "shufflenet_v1_without_shuffle",
        SHUFFLE1,
        "shufflenet_v1_x0_5_g3",
        ("self.expand(self.shuffle(y))", "self.expand(y)"),
    ),
    bug(
        "shufflenet_v1_border_not_counted",
        SHUFFLE1,
        "shufflenet_v1_x0_5_g3",
        ("nn.AvgPool2d(3, 2, padding=1)", "nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)"),
    ),
    bug(
        "shufflenet_v2_computes_the_other_half",
        SHUFFLE2,
        "shufflenet_v2_x0_5",
        ("torch.cat([passed, self.branch(y)], 1)", "torch.cat([self.branch(passed), y], 1)"),
    ),
    bug(
        "shufflenet_v2_activation_behind_the_depthwise",
        SHUFFLE2,
        "shufflenet_v2_x0_5",
        ("stride, groups=out_dim, act=None", "stride, groups=out_dim"),
    ),
    bug(
        "fasternet_relu_everywhere",
        FASTER,
        "fasternet_t0",
        ("dim=40, depths=(1, 2, 8, 2), act=nn.GELU", "dim=40, depths=(1, 2, 8, 2)"),
    ),
    bug(
        "fasternet_pads_its_patches",
        FASTER,
        "fasternet_t0",
        ("self.conv.padding = (0, 0)", "self.conv.padding = (1, 1)"),
    ),
]
