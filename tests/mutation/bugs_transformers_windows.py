"""Bugs of copies of Swin, Focal Transformer, GC-ViT, MaxViT, MSG-Transformer and DilateFormer."""

from mutation import bug

SWIN, OFFSETS, FOCAL, GCVIT = "models.swin", "layers.relative_position", "models.focal", "models.gcvit"
MAXVIT, MSG, DILATE = "models.maxvit", "models.msg_transformer", "models.dilateformer"

MUTATIONS = [
    bug(
        "swin_forgets_to_roll_back",
        SWIN,
        "swin_tiny",
        ("            y = y.roll(shift, (1, 2))\n", "            pass\n"),
    ),
    bug(
        "swin_without_a_mask",
        SWIN,
        "swin_tiny",
        ("((label[:, :, None] == label[:, None]) & real[:, None])", "real[:, None].expand(-1, window**2, -1)"),
    ),
    bug(
        "swin_mask_of_the_unrolled_image",
        SWIN,
        "swin_tiny",
        ("labels.append(place >= full - moved)", "labels.append(place < moved)"),
    ),
    bug(
        "swin_shifts_where_one_window_is_all",
        SWIN,
        "swin_tiny",
        ("window // 2 if side > window else 0", "window // 2"),
    ),
    bug(
        "swin_merges_rows_first",
        SWIN,
        "swin_tiny",
        ("x.permute(0, 1, 3, 4, 2, 5).flatten(3)", "x.permute(0, 1, 3, 2, 4, 5).flatten(3)"),
    ),
    bug(
        "swin_offsets_from_query_to_key",
        OFFSETS,
        "swin_tiny",
        (
            "y[:, None] - y + height - 1, x[:, None] - x + width - 1",
            "y - y[:, None] + height - 1, x - x[:, None] + width - 1",
        ),
    ),
    bug(
        "focal_corners_in_another_order",
        FOCAL,
        "focal_tiny",
        ("(-MARGIN, MARGIN), (MARGIN, -MARGIN)", "(MARGIN, -MARGIN), (-MARGIN, MARGIN)"),
    ),
    bug(
        "focal_windows_beyond_the_border_take_weight",
        FOCAL,
        "focal_tiny",
        ("self.far(windows)], 3)[0", "torch.ones_like(self.far(windows))], 3)[0"),
    ),
    bug(
        "focal_mean_in_the_place_of_the_learned_one",
        FOCAL,
        "focal_tiny",
        (
            "self.pool(split_windows(x.permute(0, 3, 1, 2), WINDOW, WINDOW).transpose(3, 4))[..., 0]",
            "split_windows(x.permute(0, 3, 1, 2), WINDOW, WINDOW).mean(3)",
        ),
    ),
    bug(
        "gcvit_asks_windows_the_questions_of_other_images",
        GCVIT,
        "gcvit_xxtiny",
        ("query[:, None].expand(-1, windows, -1, -1, -1).flatten(0, 1)", "query.repeat(windows, 1, 1, 1)"),
    ),
    bug("gcvit_global_blocks_first", GCVIT, "gcvit_xxtiny", ("window, i % 2 == 1,", "window, i % 2 == 0,")),
    bug(
        "maxvit_two_windows_and_no_grid",
        MAXVIT,
        "maxvit_tiny",
        ("for grid in (False, True)", "for grid in (False,) * 2"),
    ),
    bug(
        "maxvit_expands_the_channels_in",
        MAXVIT,
        "maxvit_tiny",
        ("hidden, self.stride = 4 * out_dim", "hidden, self.stride = 4 * dim"),
    ),
    bug(
        "maxvit_offsets_as_in_swin",
        MAXVIT,
        "maxvit_tiny",
        ("self.index().T", "self.index()"),
    ),
    bug(
        "msg_transformer_exchanges_nothing",
        MSG,
        "msg_transformer_tiny",
        ("x.unflatten(4, (group, -1)).transpose(3, 4).flatten(4)", "x.unflatten(4, (group, -1)).flatten(4)"),
    ),
    bug(
        "msg_transformer_exchanges_behind_the_perceptron",
        MSG,
        "msg_transformer_tiny",
        (
            "        x = torch.cat([exchange(x[:, :, :, 0], self.region)[:, :, :, None], x[:, :, :, 1:]], 3)\n"
            "        return x + self.drop_path(self.mlp(self.norm2(x)))\n",
            "        x = x + self.drop_path(self.mlp(self.norm2(x)))\n"
            "        return torch.cat([exchange(x[:, :, :, 0], self.region)[:, :, :, None], x[:, :, :, 1:]], 3)\n",
        ),
    ),
    bug(
        "msg_transformer_biases_of_the_messenger_swapped",
        MSG,
        "msg_transformer_tiny",
        ("as_key, as_query = self.messenger", "as_query, as_key = self.messenger"),
    ),
    bug(
        "dilateformer_positions_without_a_shortcut",
        DILATE,
        "dilateformer_tiny",
        ("x = x + self.position(x)", "x = self.position(x)"),
    ),
    bug(
        "dilateformer_dilates_the_third_stage",
        DILATE,
        "dilateformer_tiny",
        ("HEADS[index], index < 2", "HEADS[index], index < 3"),
    ),
]
