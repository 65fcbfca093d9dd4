"""Bugs of copies of the modules that mix pixels without an attention matrix."""

from mutation import bug

AFT, FULL, LOCAL = "layers.attention_free", "blocks.aft_full", "blocks.aft_local"
ADDITIVE, UFO, S2 = "blocks.efficient_additive_attention", "blocks.ufo_attention", "blocks.s2_attention"
EXTERNAL, MULTI_HEAD = "blocks.external_attention", "blocks.multi_head_external_attention"
PERMUTE = "blocks.weighted_permute_mlp"

MUTATIONS = [
    # The attention free transformer
    bug("aft_without_gate", AFT, "aft_full", ("self.gate(self.query(x)) * self.mean", "self.mean")),
    bug("aft_weights_compete_among_channels", AFT, "aft_simple", ("nn.Softmax(2)", "nn.Softmax(1)")),
    bug(
        "aft_table_transposed", FULL, "aft_full", ("self.position_bias.softmax(1)", "self.position_bias.mT.softmax(1)")
    ),
    bug(
        "aft_local_blind_outside_its_window",
        LOCAL,
        "aft_local",
        ("far * self.rest(half) + self.window(half, near)", "self.window(half, near)"),
    ),
    # Efficient additive attention
    bug(
        "additive_softmax_over_the_pixels",
        ADDITIVE,
        "efficient_additive_attention",
        ("unit_length(self.weight.mT @ tokens, 2)", "(self.weight.mT @ tokens).softmax(2)"),
    ),
    bug(
        "additive_without_the_query",
        ADDITIVE,
        "efficient_additive_attention",
        ("self.project(shared * key) + query", "self.project(shared * key)"),
    ),
    bug(
        "additive_keys_of_any_length",
        ADDITIVE,
        "efficient_additive_attention",
        ("unit_length(self.key(x), 1)", "self.key(x)"),
    ),
    # UFO
    bug("ufo_norm_over_the_other_axis", UFO, "ufo_attention", ("unit_length(k @ v.mT, 3)", "unit_length(k @ v.mT, 2)")),
    bug("ufo_context_transposed", UFO, "ufo_attention", ("(context.mT @ q)", "(context @ q)")),
    bug(
        "ufo_divides_by_zero",
        UFO,
        "ufo_attention",
        ("unit_length(q, 2)", "q / q.norm(dim=2, keepdim=True)"),
        (
            "self.query = nn.Conv2d(dim, dim, 1)",
            "self.query = nn.Conv2d(dim, dim, 1)\n        nn.init.zeros_(self.query.bias)",
        ),
    ),
    # External attention
    bug("external_softmax_over_the_slots", EXTERNAL, "external_attention", ("nn.Softmax(2)", "nn.Softmax(1)")),
    bug(
        "external_normalised_once",
        EXTERNAL,
        "external_attention",
        ("attention / (1e-9 + attention.sum(1, keepdim=True))", "attention"),
    ),
    bug("external_without_residual", EXTERNAL, "external_attention", ("x + self.norm(found)", "self.norm(found)")),
    bug(
        "multi_head_external_softmax_over_the_slots",
        MULTI_HEAD,
        "multi_head_external_attention",
        ("nn.Softmax(2)", "nn.Softmax(1)"),
    ),
    bug(
        "multi_head_external_normalised_once",
        MULTI_HEAD,
        "multi_head_external_attention",
        (" / (1e-9 + attention.sum(1, keepdim=True))", ""),
    ),
    # S2
    bug(
        "s2_smears",
        S2,
        "s2_attention",
        ("[x.narrow(axis, 0, 1), x.narrow(axis, 0, rest)]", "[x.narrow(axis, 0, 1)] * (rest + 1)"),
    ),
    bug(
        "s2_rolls_over_the_border",
        S2,
        "s2_attention",
        ("[x.narrow(axis, 0, 1), x.narrow(axis, 0, rest)]", "[x.narrow(axis, rest, 1), x.narrow(axis, 0, rest)]"),
    ),
    bug("s2_both_versions_alike", S2, "s2_attention", ("(RIGHT, LEFT, DOWN, UP)", "(DOWN, UP, RIGHT, LEFT)")),
    # Weighted Permute-MLP
    bug(
        "permute_weights_in_the_order_of_the_copies",
        PERMUTE,
        "weighted_permute_mlp",
        ("a[:, :, 0] * h", "a[:, :, 2] * h"),
        ("a[:, :, 2] * c", "a[:, :, 0] * c"),
    ),
    bug(
        "permute_channels_before_pixels",
        PERMUTE,
        "weighted_permute_mlp",
        ("h.permute(0, 1, 4, 3, 2).flatten(3)", "h.permute(0, 1, 4, 2, 3).flatten(3)"),
    ),
    bug(
        "permute_averages_over_the_batch",
        PERMUTE,
        "weighted_permute_mlp",
        (".mean((2, 3))", ".mean((0, 2, 3)).expand(len(x), -1)"),
    ),
]
