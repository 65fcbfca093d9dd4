"""Bugs of copies of ConvNeXt, InceptionNeXt and Conv2Former."""

from mutation import bug

CONVNEXT, INCEPTION, CONV2FORMER = "models.convnext", "models.inception_next", "models.conv2former"

MUTATIONS = [
    bug("convnext_layer_norm_of_torchs_eps", CONVNEXT, "convnext_tiny", ("LayerNorm(dim, eps=1e-6)", "LayerNorm(dim)")),
    bug("convnext_tanh_gelu", CONVNEXT, "convnext_tiny", ("F.gelu(y)", 'F.gelu(y, approximate="tanh")')),
    bug(
        "convnext_without_layer_scale",
        CONVNEXT,
        "convnext_tiny",
        ("self.drop_path(self.scale(y))", "self.drop_path(y)"),
    ),
    bug(
        "convnext_norm_before_pooling",
        CONVNEXT,
        "convnext_tiny",
        ("self.norm(x.mean((2, 3)))", "self.norm(x.permute(0, 2, 3, 1)).mean((1, 2))"),
    ),
    bug(
        "inception_next_split_the_other_way_round",
        INCEPTION,
        "inception_next_atto",
        (
            "same, square, row, column = x.split(self.parts, 1)",
            "square, row, column, same = x.split(self.parts[::-1], 1)",
        ),
        (
            "[same, self.square(square), self.row(row), self.column(column)]",
            "[self.square(square), self.row(row), self.column(column), same]",
        ),
    ),
    bug(
        "inception_next_row_and_column_swapped",
        INCEPTION,
        "inception_next_atto",
        ("self.row(row), self.column(column)", "self.column(row), self.row(column)"),
    ),
    bug("inception_next_wide_last_stage", INCEPTION, "inception_next_atto", ("(4, 4, 4, 3)", "(4, 4, 4, 4)")),
    bug(
        "conv2former_gelu_behind_the_large_kernel",
        CONV2FORMER,
        "conv2former_n",
        ("self.depthwise(to_maps(F.gelu(self.factor(y))))", "F.gelu(self.depthwise(to_maps(self.factor(y))))"),
    ),
    bug(
        "conv2former_sum_before_gelu",
        CONV2FORMER,
        "conv2former_n",
        ("h + F.gelu(self.depthwise(h))", "F.gelu(h + self.depthwise(h))"),
    ),
    bug(
        "conv2former_norm_at_the_end_of_the_stem",
        CONV2FORMER,
        "conv2former_n",
        (
            "nn.Conv2d(half, dims[0], 2, stride=2, bias=False),",
            "nn.Conv2d(half, dims[0], 2, stride=2, bias=False), LayerNorm2d(dims[0]),",
        ),
    ),
]
