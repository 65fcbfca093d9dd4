"""Bugs of copies of the transformers without a pyramid, and of those that filled their frame with something else."""

from mutation import bug

ATTENTION, POSITIONS = "layers.attention", "layers.position_table"
VIT, DEIT, T2T, CEIT = "models.vit", "models.deit", "models.t2t_vit", "models.ceit"
CROSSVIT, MIXER = "models.crossvit", "models.mlp_mixer"
POOLFORMER, METAFORMER = "models.poolformer", "models.metaformer"

MUTATIONS = [
    bug(
        "attention_scaled_by_the_width_of_all_heads",
        ATTENTION,
        "vit_tiny_patch16",
        ("self.attend = ScaledDotProduct(scale)", "self.attend = ScaledDotProduct(dim**-0.5)"),
    ),
    bug(
        "attention_rows_of_qkv_head_by_head",
        ATTENTION,
        "vit_tiny_patch16",
        ("(3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)", "(self.num_heads, 3, -1)).permute(3, 0, 2, 1, 4)"),
    ),
    bug(
        "positions_without_antialias",
        POSITIONS,
        "vit_tiny_patch16",
        ("antialias: bool = True", "antialias: bool = False"),
    ),
    bug(
        "vit_mean_over_the_tokens",
        VIT,
        "vit_tiny_patch16",
        ("return x[:, : self.extra_tokens].flatten(1)", "return x.mean(1)"),
    ),
    bug(
        "vit_without_the_last_norm",
        VIT,
        "vit_tiny_patch16",
        ("return self.norm(self.blocks(x))", "return self.blocks(x)"),
    ),
    bug(
        "deit_answers_by_the_class_token_alone",
        DEIT,
        "deit_tiny_distilled",
        ("(logits[0] + logits[1]) / 2", "logits[0]"),
    ),
    bug(
        "deit_both_heads_on_the_class_token",
        DEIT,
        "deit_tiny_distilled",
        ("label, distillation = x.chunk(2, dim=1)", "label = distillation = x.chunk(2, dim=1)[0]"),
    ),
    bug(
        "performer_queries_before_keys",
        T2T,
        "t2t_vit_7",
        ("k, q, v = self.kqv(self.norm1(x))", "q, k, v = self.kqv(self.norm1(x))"),
    ),
    bug(
        "performer_without_the_squared_length",
        T2T,
        "t2t_vit_7",
        ("x @ self.random.T - x.square().sum(-1, keepdim=True) / 2", "x @ self.random.T"),
    ),
    bug("t2t_with_biases_in_the_attention", T2T, "t2t_vit_7", ("dim // HEAD_DIM, qkv_bias=False", "dim // HEAD_DIM")),
    bug(
        "ceit_class_token_without_its_normalised_self",
        CEIT,
        "ceit_tiny",
        ("torch.cat([x[:, :1], y.flatten(2)", "torch.cat([torch.zeros_like(x[:, :1]), y.flatten(2)"),
    ),
    bug(
        "ceit_activation_at_the_end_of_leff",
        CEIT,
        "ceit_tiny",
        ("y = self.norm3(self.narrow(y))", "y = self.act(self.norm3(self.narrow(y)))"),
    ),
    bug("ceit_relu_in_the_stem", CEIT, "ceit_tiny", ("64, 7, 2, act=None", "64, 7, 2")),
    bug(
        "crossvit_visit_without_shortcut",
        CROSSVIT,
        "crossvit_tiny",
        ("return x[:, :1] + self.drop_path(self.proj(y))", "return self.drop_path(self.proj(y))"),
    ),
    bug("crossvit_bilinear_image", CROSSVIT, "crossvit_tiny", ('mode="bicubic"', 'mode="bilinear"')),
    bug(
        "crossvit_bridge_without_gelu",
        CROSSVIT,
        "crossvit_tiny",
        (" nn.GELU(), nn.Linear", " nn.Identity(), nn.Linear"),
    ),
    bug(
        "mixer_mean_before_the_norm",
        MIXER,
        "mlp_mixer_s32",
        ("return self.norm(self.blocks(x))", "return self.blocks(x)"),
        ("return x.mean(1)", "return self.norm(x.mean(1))"),
    ),
    bug(
        "mixer_mixes_patches_by_fresh_weights",
        MIXER,
        "mlp_mixer_s32",
        ("y = self.mlp_tokens(", "y = Mlp(x.shape[1], x.shape[2] // 2)("),
    ),
    bug(
        "poolformer_without_subtraction",
        "layers.pooling",
        "poolformer_s12",
        ("count_include_pad=False) - x", "count_include_pad=False)"),
    ),
    bug(
        "poolformer_zeros_at_the_border",
        "layers.pooling",
        "poolformer_s12",
        ("count_include_pad=False) - x", "count_include_pad=True) - x"),
    ),
    bug(
        "poolformer_norm_of_each_pixel",
        POOLFORMER,
        "poolformer_s12",
        ("self.norm1 = nn.GroupNorm(1, dim)", "self.norm1 = LayerNorm2d(dim)"),
    ),
    bug(
        "star_relu_squares_its_scale",
        METAFORMER,
        "caformer_s18",
        ("torch.addcmul(self.bias, x, self.scale * x)", "torch.addcmul(self.bias, self.scale * x, self.scale * x)"),
    ),
    bug(
        "metaformer_scale_on_the_branch",
        METAFORMER,
        "caformer_s18",
        (
            "x = self.residual1(x) + self.drop_path(self.mixer(self.norm1(x)))",
            "x = x + self.drop_path(self.residual1(self.mixer(self.norm1(x))))",
        ),
    ),
    bug(
        "metaformer_relu_in_the_head", METAFORMER, "caformer_s18", ("F.relu(self.fc(x)).square()", "F.relu(self.fc(x))")
    ),
]
