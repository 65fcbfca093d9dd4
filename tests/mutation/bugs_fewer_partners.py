"""Bugs of attention to fewer partners."""

from mutation import bug

HALO, CROSS, MSDA = "blocks.halo_attention", "blocks.crossformer_attention", "blocks.msda"
ROUTING, SUPER, EMSA = "blocks.bi_level_routing", "blocks.super_token", "blocks.emsa"

MUTATIONS = [
    bug(
        "halo_attention_mask_the_wrong_way_round",
        HALO,
        "halo_attention",
        ("return (pixel < 0) | (pixel >= size)", "return (pixel >= 0) & (pixel < size)"),
    ),
    bug(
        "halo_attention_padding_as_keys",
        HALO,
        "halo_attention",
        ("return (pixel < 0) | (pixel >= size)", "return pixel > pixel"),
    ),
    bug(
        "halo_attention_unscaled_position",
        HALO,
        "halo_attention",
        ("q = q.unflatten(4, (b, b)) * self.dim_head**-0.5", "q = q.unflatten(4, (b, b))"),
    ),
    bug(
        "halo_attention_height_and_width_swapped",
        HALO,
        "halo_attention",
        ("bias = rows[..., :, None] + columns[..., None, :]", "bias = rows[..., None, :] + columns[..., :, None]"),
    ),
    bug(
        "crossformer_attention_filling_as_keys",
        CROSS,
        "crossformer_attention",
        ("outside = ~inside.flatten", "outside = inside.new_zeros(inside.shape).flatten"),
    ),
    bug(
        "crossformer_attention_bias_of_the_opposite_offset",
        CROSS,
        "crossformer_attention",
        ("places[:, None] - places + side - 1", "places - places[:, None] + side - 1"),
    ),
    bug(
        "msda_overwrites_its_input",
        MSDA,
        "msda",
        ("        groups = len(self.dilation)\n", "        groups, x0 = len(self.dilation), x\n"),
        ("return self.proj(torch.cat(y, 1))", "return self.proj(x0.copy_(torch.cat(y, 1)))"),
    ),
    bug("msda_two_dilations", MSDA, "msda", ("dilation: Sequence[int] = (1, 2, 3)", "dilation: Sequence[int] = (2,)")),
    bug(
        "msda_padding_of_another_spacing",
        MSDA,
        "msda",
        ("margin = dilation * (self.kernel_size // 2)", "margin = max(self.dilation) * (self.kernel_size // 2)"),
    ),
    bug(
        "bi_level_routing_divides_by_a_heads_channels",
        ROUTING,
        "bi_level_routing",
        ("scale=self.dim**-0.5", "scale=None"),
    ),
    bug(
        "bi_level_routing_rows_for_regions",
        ROUTING,
        "bi_level_routing",
        (
            "y = join_windows(y, *region, v.shape[2:])",
            "y = join_windows(y.transpose(1, 2).reshape(y.shape), *region, v.shape[2:])",
        ),
    ),
    bug(
        "bi_level_routing_reads_the_first_image",
        ROUTING,
        "bi_level_routing",
        ("kv.shape[1] * torch.arange(batch, device=x.device)[:, None, None] + chosen", "chosen"),
    ),
    bug(
        "bi_level_routing_no_region_for_small_images",
        ROUTING,
        "bi_level_routing",
        ("max(1, height // self.n_win), max(1, width // self.n_win)", "height // self.n_win, width // self.n_win"),
    ),
    bug(
        "super_token_softmax_over_pixels",
        SUPER,
        "super_token",
        ("self.softmax = nn.Softmax(dim=-1)", "self.softmax = nn.Softmax(dim=-2)"),
    ),
    bug(
        "super_token_not_normalised",
        SUPER,
        "super_token",
        (" / (total + 1e-12)", " / (1.0 + 0.0 * total)"),
    ),
    bug(
        "super_token_scaled_by_a_heads_channels",
        SUPER,
        "super_token",
        ("self.dim**-0.5", "(self.dim // self.num_heads) ** -0.5"),
    ),
    bug(
        "emsa_without_instance_norm",
        EMSA,
        "emsa",
        ("return y * torch.rsqrt(variance + 1e-5)[..., None, None].to(y.dtype)", "return y + 0.0 * variance.sum()"),
    ),
    bug(
        "emsa_mixes_after_the_softmax",
        EMSA,
        "emsa",
        ("self.softmax(self.transform(piece @ k))", "self.transform(self.softmax(piece @ k))"),
    ),
    bug(
        "emsa_without_padding",
        EMSA,
        "emsa",
        ("padding=sr_ratio // 2", "padding=0"),
    ),
]
