"""Bugs in the attentions of everyone to everyone."""

from mutation import bug

AXIAL, CRISS, DOUBLE, SEA = (
    "blocks.axial_attention",
    "blocks.criss_cross",
    "blocks.double_attention",
    "blocks.sea_attention",
)
DANET, POSITION, CHANNEL = "blocks.danet", "blocks.danet_position", "blocks.danet_channel"

MUTATIONS = [
    bug(
        "axial_attention_shares_its_weights",
        AXIAL,
        "axial_attention",
        ("self.width = LineAttention(dim, heads, dim_heads)", "self.width = self.height"),
    ),
    bug(
        "axial_attention_along_one_axis_only",
        AXIAL,
        "axial_attention",
        ("(columns.transpose(1, 2) + rows)", "(0 * columns.transpose(1, 2) + rows)"),
    ),
    bug(
        "axial_attention_biased_projections",
        AXIAL,
        "axial_attention",
        ("self.to_q = nn.Linear(dim, heads * dim_heads, bias=False)", "self.to_q = nn.Linear(dim, heads * dim_heads)"),
    ),
    bug(
        "axial_attention_heads_interleaved",
        AXIAL,
        "axial_attention",
        (
            "y.unflatten(2, (-1, self.dim_heads)).transpose(1, 2)",
            "y.unflatten(2, (self.dim_heads, -1)).permute(0, 3, 1, 2)",
        ),
    ),
    bug("danet_position_scaled", POSITION, "danet_position", (", scale=1.0)", ")")),
    bug(
        "danet_position_scaled_by_its_own_width",
        POSITION,
        "danet_position",
        ("scale=1.0", "scale=self.width**-0.5"),
    ),
    bug("danet_position_without_the_input", POSITION, "danet_position", ("torch.addcmul(x, ", "torch.addcmul(0 * x, ")),
    bug("danet_position_full_queries", POSITION, "danet_position", ("reduction: int = 8", "reduction: int = 1")),
    bug(
        "danet_channel_attends_to_the_most_similar",
        CHANNEL,
        "danet_channel",
        ("1 if most_similar else -1", "-1 if most_similar else 1"),
    ),
    bug(
        "danet_channel_weights_transposed",
        CHANNEL,
        "danet_channel",
        ("(weights @ channels)", "(weights.transpose(1, 2) @ channels)"),
    ),
    bug("danet_channel_mean_product", CHANNEL, "danet_channel", ("self.softmax(count * (", "self.softmax((")),
    bug("danet_channel_without_the_input", CHANNEL, "danet_channel", ("torch.addcmul(x, ", "torch.addcmul(0 * x, ")),
    bug("danet_multiplies_the_branches", DANET, "danet", ("(p + c, p, c)", "(p * c, p, c)")),
    bug(
        "danet_attentions_on_one_branch",
        DANET,
        "danet",
        ("self.position(x), self.channel(x)", "self.position(x), self.position(x)"),
    ),
    bug("danet_width_of_the_input", DANET, "danet", ("reduction: int = 4", "reduction: int = 1")),
    bug(
        "criss_cross_counts_itself_twice",
        CRISS,
        "criss_cross",
        ('column = column.masked_fill_(itself, float("-inf"))', "column = column + 0 * itself"),
    ),
    bug(
        "criss_cross_two_softmaxes",
        CRISS,
        "criss_cross",
        (
            "self.softmax(self.compare(q, k)).split(x.shape[2:], -1)",
            "map(self.softmax, self.compare(q, k).split(x.shape[2:], -1))",
        ),
    ),
    bug(
        "criss_cross_mask_of_fixed_type",
        CRISS,
        "criss_cross",
        (
            'column = column.masked_fill_(itself, float("-inf"))',
            'column = column - torch.diag(torch.full((q.shape[1],), float("inf")))',
        ),
    ),
    bug(
        "criss_cross_second_pass_forgotten",
        CRISS,
        "criss_cross",
        ("for _ in range(self.recurrence):", "for _ in range(1):"),
    ),
    bug(
        "double_attention_softmax_over_batch",
        DOUBLE,
        "double_attention",
        ("nn.Softmax(dim=2)", "nn.Softmax(dim=0)"),
        ("nn.Softmax(dim=1)", "nn.Softmax(dim=0)"),
    ),
    bug(
        "double_attention_axes_swapped",
        DOUBLE,
        "double_attention",
        ("self.over_pixels = nn.Softmax(dim=2)", "self.over_pixels = nn.Softmax(dim=1)"),
    ),
    bug(
        "double_attention_distributes_over_pixels",
        DOUBLE,
        "double_attention",
        ("self.over_descriptors = nn.Softmax(dim=1)", "self.over_descriptors = nn.Softmax(dim=2)"),
    ),
    bug("sea_attention_soft_sigmoid", SEA, "sea_attention", ("nn.Hardsigmoid()", "nn.Sigmoid()")),
    bug(
        "sea_attention_without_positions",
        SEA,
        "sea_attention",
        ("k = k + F.interpolate(", "k = k + 0 * F.interpolate("),
    ),
    bug(
        "sea_attention_averages_the_wrong_axes",
        SEA,
        "sea_attention",
        ("self.row(*qkv.mean(3)", "self.row(*qkv.mean(2)"),
        ("self.column(*qkv.mean(2)", "self.column(*qkv.mean(3)"),
    ),
]
