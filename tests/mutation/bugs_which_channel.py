"""Bugs that were found in the wild in ECA, FcaNet, SimAM, triplet attention, GAM, shuffle attention and EMA."""

from mutation import bug

MUTATIONS = [
    bug("eca_fixed_kernel", "blocks.eca", "eca", ("kernel_size = adaptive_kernel_size(dim)", "kernel_size = 5")),
    bug("eca_with_bias", "blocks.eca", "eca", ("kernel_size // 2, bias=False", "kernel_size // 2, bias=True")),
    bug("eca_without_sigmoid", "blocks.eca", "eca", ("self.gate(self.conv(z))[:, 0]", "self.conv(z)[:, 0]")),
    bug(
        "fca_filter_left_behind",
        "blocks.fca",
        "fca",
        (
            'self.register_buffer("filters", (rows[:, :, None] * columns[:, None]).float())',
            "self.filters = (rows[:, :, None] * columns[:, None]).float()",
        ),
    ),
    bug("fca_axes_swapped", "blocks.fca", "fca", ("pair[axis] *", "pair[1 - axis] *")),
    bug("fca_frequencies_not_scaled", "blocks.fca", "fca", ("pair[axis] * (n // GRID)", "pair[axis]")),
    bug(
        "simam_nan_at_one_pixel",
        "blocks.simam",
        "simam",
        ("max(x.shape[2] * x.shape[3] - 1, 1)", "(x[0, 0].numel() - 1)"),
    ),
    bug("simam_without_a_half", "blocks.simam", "simam", ("logits += 0.5", "logits += 0.0")),
    bug(
        "triplet_planes_turned_round",
        "blocks.triplet_attention",
        "triplet_attention",
        ("[x.amax(axis), x.mean(axis)]", "[x.mean(axis), x.amax(axis)]"),
    ),
    bug(
        "triplet_without_batchnorm",
        "blocks.triplet_attention",
        "triplet_attention",
        ("nn.BatchNorm2d(1, momentum=0.01)", "nn.Identity()"),
    ),
    bug(
        "triplet_same_plane_twice",
        "blocks.triplet_attention",
        "triplet_attention",
        ("self.hc(z_pool(x, 3).transpose(2, 3)).permute(0, 3, 2, 1)", "self.hc(z_pool(x, 2)).transpose(1, 2)"),
    ),
    bug("gam_without_sigmoid", "blocks.gam", "gam", ("self.channel_gate(self.channel(x))", "self.channel(x)")),
    bug("gam_without_batchnorm", "blocks.gam", "gam", ("nn.BatchNorm2d(dim)", "nn.Identity()")),
    bug(
        "shuffle_attention_view",
        "blocks.shuffle_attention",
        "shuffle_attention",
        ("x.unflatten(1, (self.groups, -1)).flatten(0, 1)", "x.view(-1, x.shape[1] // self.groups, *x.shape[2:])"),
    ),
    bug(
        "shuffle_attention_without_shuffle",
        "blocks.shuffle_attention",
        "shuffle_attention",
        ("return y.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)", "return y"),
    ),
    bug(
        "shuffle_attention_normalises_the_group",
        "blocks.shuffle_attention",
        "shuffle_attention",
        ("(where, self.norm.num_groups, scale", "(where, 1, scale"),
    ),
    bug(
        "ema_weighs_its_own_branch",
        "blocks.ema",
        "ema",
        (
            "weight1 @ x2.flatten(2) + (weight2 @ x1.flatten(2))[:, 0]",
            "weight1 @ x1.flatten(2) + (weight2 @ x2.flatten(2))[:, 0]",
        ),
    ),
    bug(
        "ema_softmax_over_pixels",
        "blocks.ema",
        "ema",
        ("self.softmax(x2.mean((2, 3)))", "self.softmax(x2.flatten(2)).mean(2)"),
    ),
    bug("ema_normalises_the_group", "blocks.ema", "ema", ("nn.GroupNorm(inner, inner)", "nn.GroupNorm(1, inner)")),
]
