"""Bugs of copies of SeaFormer and of the ViT-Adapter.

The recorded output of the adapter is one of its four maps, and SeaFormer's was recorded as a classifier: what only the
other maps or the head show, the tests of the file must notice.
"""

from mutation import bug

SEA, ADAPTER = "models.seaformer", "models.vit_adapter"
TEST_SEA, TEST_ADAPTER = "models/test_seaformer.py", "models/test_vit_adapter.py"

MUTATIONS = [
    # SeaFormer
    bug(
        "seaformer_relu6_in_the_inverted_residuals",
        SEA,
        TEST_SEA,
        ("self.expand = ConvNormAct(dim, hidden)", "self.expand = ConvNormAct(dim, hidden, act=ReLU6)"),
        ("kernel_size, stride, groups=hidden)", "kernel_size, stride, groups=hidden, act=ReLU6)"),
    ),
    bug(
        "seaformer_relu_in_the_mlp",
        SEA,
        TEST_SEA,
        ("            ReLU6(),\n", "            nn.ReLU(),\n"),
    ),
    bug(
        "seaformer_attention_in_front_of_the_convolutions",
        SEA,
        TEST_SEA,
        ("x = attend(convolve(x))", "x = convolve(attend(x))"),
    ),
    bug(
        "seaformer_attention_without_residual",
        SEA,
        "seaformer_tiny",
        ("x = x + self.drop_path(self.attn(x))", "x = self.drop_path(self.attn(x))"),
    ),
    bug(
        "seaformer_gate_after_scaling_up",
        SEA,
        TEST_SEA,
        (
            'F.interpolate(self.gate(coarse), size=fine.shape[2:], mode="bilinear")',
            'self.gate(F.interpolate(coarse, size=fine.shape[2:], mode="bilinear"))',
        ),
    ),
    bug("seaformer_gate_by_the_sigmoid", SEA, TEST_SEA, ("act=nn.Hardsigmoid", "act=nn.Sigmoid")),
    bug("seaformer_gate_without_its_bound", SEA, TEST_SEA, ("act=nn.Hardsigmoid", "act=None")),
    bug("seaformer_head_from_a_quarter", SEA, TEST_SEA, ("y = maps[1] ", "y = maps[0] ")),
    bug("seaformer_gates_added", SEA, TEST_SEA, ("self.local(fine) * F.interp", "self.local(fine) + F.interp")),
    bug("seaformer_drops_single_features", SEA, TEST_SEA, ("F.dropout2d(", "F.dropout(")),
    # ViT-Adapter
    bug(
        "adapter_corners_for_centres",
        ADAPTER,
        "vit_adapter_tiny",
        ("dtype=dtype) + 0.5) / side", "dtype=dtype)) / side"),
    ),
    bug(
        "adapter_aligned_corners",
        ADAPTER,
        "vit_adapter_tiny",
        ("places[:, 1, None] * width - 0.5", "places[:, 1, None] * (width - 1)"),
        ("places[:, 0, None] * height - 0.5", "places[:, 0, None] * (height - 1)"),
    ),
    bug(
        "adapter_rows_before_columns",
        ADAPTER,
        "vit_adapter_tiny",
        ("offsets[:, :, level, ..., 0]", "offsets[:, :, level, ..., 1] "),
        ("offsets[:, :, level, ..., 1]  #", "offsets[:, :, level, ..., 0]  #"),
    ),
    bug(
        "adapter_softmax_within_each_map",
        ADAPTER,
        "vit_adapter_tiny",
        (
            "unflatten(2, (self.num_heads, -1)).softmax(3)\n",
            "unflatten(2, (self.num_heads, self.levels, -1)).softmax(4).flatten(3)\n",
        ),
    ),
    bug(
        "adapter_offsets_in_shares_of_the_image",
        ADAPTER,
        "vit_adapter_tiny",
        ("- 0.5 + offsets[:, :, level, ..., 0]", "- 0.5 + width * offsets[:, :, level, ..., 0]"),
    ),
    bug("adapter_heads_look_one_way", ADAPTER, TEST_ADAPTER, ("(2 * math.pi / self.num_heads)", "0.0")),
    bug(
        "adapter_one_extractor_behind_the_last_group",
        ADAPTER,
        "vit_adapter_tiny",
        ("range(3 if last else 1)", "range(1)"),
    ),
    bug(
        "adapter_tokens_of_the_last_group_on_all_maps",
        ADAPTER,
        TEST_ADAPTER,
        ("for state, scale in zip(states, (4, 2, 1, 0.5))", "for state, scale in zip(states[-1:] * 4, (4, 2, 1, 0.5))"),
    ),
    bug(
        "adapter_extracts_before_the_blocks",
        ADAPTER,
        "vit_adapter_tiny",
        ("of_tokens, grids)\n", "of_tokens, grids)\n            before = x\n"),
        ("c = extractor(c, x, of_pixels, grids)", "c = extractor(c, before, of_pixels, grids)"),
    ),
    bug(
        "adapter_without_levels", ADAPTER, "vit_adapter_tiny", (".transpose(1, 2) + level for", ".transpose(1, 2) for")
    ),
    bug(
        "adapter_injects_from_the_start",
        ADAPTER,
        TEST_ADAPTER,
        ("nn.Parameter(torch.zeros(dim))", "nn.Parameter(torch.ones(dim))"),
    ),
    bug(
        "adapter_feed_forward_across_maps",
        ADAPTER,
        TEST_ADAPTER,
        (
            "self.depthwise(part.unflatten(2, grid)).flatten(2) for part, grid in zip(parts, grids, strict=True)",
            "self.depthwise(torch.cat(parts, 2)[:, :, None]).flatten(2) for _ in range(1)",
        ),
    ),
    bug(
        "adapter_uses_the_place_of_the_class_token",
        ADAPTER,
        "vit_adapter_tiny",
        ("self.positions.at(grids[1])[:, 1:]", "self.positions.at(grids[1])[:, :-1]"),
    ),
]
