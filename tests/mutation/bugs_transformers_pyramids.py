"""Bugs of copies of PVT, PVTv2, Twins, CvT and the Shunted Transformer."""

from mutation import bug

REDUCED, PVT, PVT_V2 = "layers.reduced_attention", "models.pvt", "models.pvt_v2"
TWINS, CVT, SHUNTED = "models.twins", "models.cvt", "models.shunted"

MUTATIONS = [
    bug(
        "pvt_reduces_without_normalisation",
        REDUCED,
        "pvt_tiny",
        ("return self.norm(x.permute(0, 2, 3, 1))", "return x.permute(0, 2, 3, 1)"),
    ),
    bug(
        "pvt_values_before_keys",
        REDUCED,
        "pvt_tiny",
        ("k, v = kv.unflatten", "v, k = kv.unflatten"),
    ),
    bug("pvt_classifies_the_mean", PVT, "pvt_tiny", ("return x[:, 0]", "return x.mean(1)")),
    bug(
        "pvt_v2_gelu_in_front_of_the_depthwise_convolution",
        PVT_V2,
        "pvt_v2_b0",
        ("x = self.dwconv(x)", "x = self.dwconv(self.act(x))"),
        ("self.act(x).permute", "x.permute"),
    ),
    bug(
        "pvt_v2_linear_without_relu",
        PVT_V2,
        "pvt_v2_b2_li",
        ("nn.ReLU() if linear else nn.Identity()", "nn.Identity()"),
    ),
    bug(
        "pvt_v2_linear_without_gelu_over_the_means",
        PVT_V2,
        "pvt_v2_b2_li",
        ("return F.gelu(self.norm(x.permute(0, 2, 3, 1)))", "return self.norm(x.permute(0, 2, 3, 1))"),
    ),
    bug(
        "twins_place_in_front_of_the_first_block",
        TWINS,
        "twins_svt_small",
        ("x = stage.patch_embed(x)  # (B, h, w, C)", "x = stage.position(stage.patch_embed(x))"),
        ("if i == 0:", "if i < 0:"),
    ),
    bug("twins_global_before_local", TWINS, "twins_svt_small", ("local and i % 2 == 0", "local and i % 2 == 1")),
    bug(
        "twins_place_without_its_shortcut",
        TWINS,
        "twins_pcpvt_small",
        ("return x + super().forward(x.permute(0, 3, 1, 2))", "return super().forward(x.permute(0, 3, 1, 2))"),
    ),
    bug("cvt_scale_of_one_head", CVT, "cvt_13", ("dim**-0.5, axes=", "(dim // num_heads) ** -0.5, axes=")),
    bug("cvt_gelu_for_quick_gelu", CVT, "cvt_13", ("Mlp(dim, 4 * dim, QuickGELU)", "Mlp(dim, 4 * dim)")),
    bug("cvt_loses_the_batch_axis_of_one_image", CVT, "cvt_13", ("return x[:, 0]", "return x[:, 0].squeeze()")),
    bug(
        "shunted_fine_keys_for_the_first_heads",
        SHUNTED,
        "shunted_tiny",
        ("zip(self.attend, q, (self.coarse, self.fine))", "zip(self.attend, q, (self.fine, self.coarse))"),
    ),
    bug("shunted_values_by_convolution_alone", SHUNTED, "shunted_tiny", ("v = v + self.local(", "v = self.local(")),
    bug(
        "shunted_perceptron_without_its_inner_shortcut",
        SHUNTED,
        "shunted_tiny",
        ("self.act(x + self.dwconv(", "self.act(self.dwconv("),
    ),
]
