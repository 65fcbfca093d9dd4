"""Real bugs of copies of ACmix, CoT, CloFormer's attention, iRMB and the modules for sequences."""

from mutation import bug

ACMIX, COT, CLO, IRMB = "blocks.acmix", "blocks.cot", "blocks.clo_attention", "blocks.irmb"
PYRAMID, INCEPTION = "blocks.pyramidal_attention", "blocks.gated_dilated_inception"

MUTATIONS = [
    # ACmix
    bug("acmix_zero_padding", ACMIX, "acmix", ('mode="reflect")', 'mode="constant")')),
    bug(
        "acmix_positions_added",
        ACMIX,
        "acmix",
        ("k = k - self.positions(k)", "k = k + self.positions(k)"),
    ),
    bug("acmix_heads_not_transposed", ACMIX, "acmix", (".unflatten(2, (-1, height)).transpose(1, 2)", "")),
    bug("acmix_mask_on_the_cpu", ACMIX, "acmix", ("self.window(q.device)", 'self.window(torch.device("cpu"))')),
    # CoT
    bug(
        "cot_blocks_of_channels_share_a_kernel",
        COT,
        "cot",
        (".unflatten(1, (-1, weight.shape[1]))", ".unflatten(1, (weight.shape[1], -1))"),
        ("weight[:, None, :, n] * v", "weight[:, :, None, n] * v"),
    ),
    bug(
        "cot_plain_sum",
        COT,
        "cot",
        ("return choice[:, :, 0] * dynamic + choice[:, :, 1] * static", "return dynamic + static"),
    ),
    bug("cot_concatenated_the_other_way", COT, "cot", ("torch.cat([x, static], 1)", "torch.cat([static, x], 1)")),
    bug(
        "cot_softmax_over_all_pixels",
        COT,
        "cot",
        (
            "local_convolution(self.value(x), weight)",
            "self.value(x) * weight.mean((1, 2)).flatten(1).softmax(1).view(x[:, :1].shape)",
        ),
    ),
    # CloFormer's attention
    bug("clo_incomplete_windows_dropped", CLO, "clo_attention", (", ceil_mode=True)", ")")),
    bug(
        "clo_high_frequencies_left_out",
        CLO,
        "clo_attention",
        ("[branch(x) for branch in self.branches]", "[self.branches[1](x), self.branches[1](x)]"),
    ),
    # iRMB
    bug(
        "irmb_contiguous_windows",
        IRMB,
        "irmb",
        (
            "-1, w, rows, w, columns).permute(0, 4, 6, 1, 3, 5, 2)",
            "-1, rows, w, columns, w).permute(0, 3, 5, 1, 4, 6, 2)",
        ),
        ("y.permute(0, 3, 6, 4, 1, 5, 2)", "y.permute(0, 3, 6, 1, 4, 2, 5)"),
    ),
    bug(
        "irmb_without_inner_residual", IRMB, "irmb", ("self.project(u + self.local(u))", "self.project(self.local(u))")
    ),
    # Pyraformer
    bug(
        "pyramid_leftover_steps_without_a_parent",
        PYRAMID,
        "pyramidal_attention",
        ("((slot < expected) | (node == size - 1))", "(slot < expected)"),
    ),
    bug("pyramid_edges_cross_levels", PYRAMID, "pyramidal_attention", ("(near >= 0) & (near < size)", "(near >= 0)")),
    bug(
        "pyramid_sees_all_earlier_steps",
        PYRAMID,
        "pyramidal_attention",
        (
            "near = node + torch.arange(inner_size, device=device) - inner_size // 2",
            "near = node + torch.arange(steps, device=device) - steps + 2",
        ),
    ),
    bug("pyramid_without_residual", PYRAMID, "pyramidal_attention", ("self.norm(x + self.fc(", "self.norm(self.fc(")),
    # MTGNN
    bug(
        "inception_aligned_at_the_first_step",
        INCEPTION,
        "gated_dilated_inception",
        ("F.conv2d(x[..., start:], weight", "F.conv2d(x[..., : x.shape[3] - start], weight"),
    ),
    bug("inception_not_dilated", INCEPTION, "gated_dilated_inception", ("dilation=conv.dilation", "dilation=1")),
]
