"""Bugs of copies of the convolutions that look elsewhere."""

from mutation import bug

DILATED, PARTIAL, SCCONV = "blocks.dilated_conv", "blocks.partial_conv", "blocks.scconv"
DEFORMABLE, V3, SNAKE = "blocks.deformable_conv", "blocks.deformable_conv_v3", "blocks.snake_conv"
SAMPLING = "layers.sampling"

MUTATIONS = [
    # Dilated convolution and context module
    bug(
        "dilated_padding_of_half_the_kernel",
        DILATED,
        "dilated_conv",
        ("padding = dilation * (kernel_size // 2)", "padding = kernel_size // 2"),
    ),
    bug(
        "context_activation_after_the_last_layer",
        DILATED,
        "context_module",
        ("nn.Conv2d(dim, dim, 1))\n", "nn.Conv2d(dim, dim, 1), nn.ReLU())\n"),
    ),
    bug(
        "context_without_the_return_to_one",
        DILATED,
        "context_module",
        ("(1, 1, 2, 4, 8, 16, 1)", "(1, 1, 2, 4, 8, 16, 32)"),
    ),
    # Partial convolution
    bug("partial_of_half_the_channels", PARTIAL, "partial_conv", ("n_div: int = 4", "n_div: int = 2")),
    bug(
        "partial_writes_into_its_input",
        PARTIAL,
        "partial_conv",
        (
            "return torch.cat([self.conv(few), others], 1)",
            "x[:, : self.convolved] = self.conv(few)\n        return x",
        ),
    ),
    # SCConv
    bug(
        "scconv_one_softmax_for_all_channels",
        SCCONV,
        "scconv",
        ("self.gate(means)[..., None, None]", "self.gate(means.flatten(1)).view_as(means)[..., None, None]"),
    ),
    bug(
        "scconv_masks_the_normalised_image",
        SCCONV,
        "scconv",
        ("dimmed = x * self.gate(logits)", "x = self.norm(x)\n        dimmed = x * self.gate(logits)"),
    ),
    bug("scconv_without_crossing", SCCONV, "scconv", (".roll(x.shape[1] // 2, 1)", "")),
    bug("scconv_threshold_turned_round", SCCONV, "scconv", ("logits > self.logit", "logits < self.logit")),
    # Deformable convolution
    bug(
        "deformable_rows_and_columns_in_turn",
        DEFORMABLE,
        "deformable_conv",
        (
            "row_offset, column_offset = offset.to(torch.promote_types(offset.dtype, torch.float32)).chunk(2, 3)",
            "offset = offset.to(torch.promote_types(offset.dtype, torch.float32))\n"
            "        row_offset, column_offset = offset[..., 0::2], offset[..., 1::2]",
        ),
    ),
    bug(
        "deformable_taps_column_by_column",
        DEFORMABLE,
        "deformable_conv_v1",
        ('torch.meshgrid(steps, steps, indexing="ij")', 'torch.meshgrid(steps, steps, indexing="xy")'),
    ),
    bug(
        "deformable_without_sigmoid",
        DEFORMABLE,
        "deformable_conv",
        ("self.gate(self.modulation(x))", "self.modulation(x)"),
    ),
    bug(
        "sampling_from_the_edge_and_not_from_zeros",
        SAMPLING,
        "deformable_conv_v1",
        ("position = position.clamp(-1, size)", "position = position.clamp(0, size - 1)"),
    ),
    bug(
        "sampling_reads_the_first_image",
        SAMPLING,
        "deformable_conv",
        ("(index + start[:, None, None])", "(index + start[:, None, None] - start[:, None, None])"),
    ),
    bug("v3_taps_row_by_row", V3, "deformable_conv_v3", ('indexing="ij"', 'indexing="xy"')),
    bug("v3_softmax_over_the_groups", V3, "deformable_conv_v3", ("nn.Softmax(dim=-1)", "nn.Softmax(dim=-2)")),
    bug(
        "v3_pads_with_the_bias",
        V3,
        "deformable_conv_v3",
        ("zero_border(self.value(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))", "self.value(zero_border(x))"),
    ),
    # Snake
    bug(
        "snake_reads_the_first_image",
        SNAKE,
        "snake_conv",
        ("zero_border(x).flatten(1, 2)", "zero_border(x[:1].expand_as(x)).flatten(1, 2)"),
    ),
    bug(
        "snake_loses_its_ends",
        SNAKE,
        "snake_conv",
        (
            "before = steps[:, :centre].flip(1).cumsum(1).flip(1)",
            "before = torch.cat([steps[:, :1], steps[:, 1:centre].flip(1).cumsum(1).flip(1)], 1)",
        ),
        (
            "after = steps[:, centre + 1 :].cumsum(1)",
            "after = torch.cat([steps[:, centre + 1 : -1].cumsum(1), steps[:, -1:]], 1)",
        ),
    ),
    bug("snake_in_zeros", SNAKE, "snake_conv", ("between(rows.clamp(0, height - 1), height)", "between(rows, height)")),
]
