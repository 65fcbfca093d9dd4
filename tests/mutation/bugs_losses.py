"""Bugs of losses: wrong axes, wrong signs, forgotten pixels, sums that do not fit into half precision."""

from mutation import bug

LABELS, CROSS, FOCAL = "losses.labels", "losses.cross_entropy", "losses.focal"
DICE, BOUNDARY, SUM = "losses.dice", "losses.boundary", "losses.weighted_sum"

MUTATIONS = [
    bug(f"loss_{id}", module, "losses", *replacements)
    for id, module, *replacements in [
        # what all share
        ("softmax_over_the_images", LABELS, ("shares = logits.softmax(1)", "shares = logits.softmax(0)")),
        ("classes_swapped_with_a_side", LABELS, (".movedim(-1, 1)", ".transpose(-1, 1)")),
        (
            "sums_in_half_precision",
            LABELS,
            ("    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))\n", ""),
        ),
        ("labels_unchecked", LABELS, ("if low < 0 or high >= classes:", "if False:")),
        ("labels_in_bytes", LABELS, ("    labels = labels.long()\n", "")),
        ("background_stays", LABELS, ("shares, targets = shares[:, 1:], targets[:, 1:]", "pass")),
        # cross-entropy
        ("cross_entropy_ignored_as_background", CROSS, ("labels.where(counts, -100)", "labels.where(counts, 0)")),
        (
            "cross_entropy_without_weights",
            CROSS,
            ("labels, weights, label_smoothing=self.label_smoothing", "labels, label_smoothing=self.label_smoothing"),
        ),
        ("cross_entropy_in_half_precision", CROSS, ("logits.to(weights.dtype)", "logits")),
        (
            "binary_of_probabilities",
            CROSS,
            (
                "F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)",
                "F.binary_cross_entropy_with_logits(logits.sigmoid(), targets, pos_weight=weight)",
            ),
        ),
        ("binary_weighs_both", CROSS, ("targets, pos_weight=weight", "targets, weight=weight")),
        # focal loss
        (
            "focal_weighs_down_what_is_hard",
            FOCAL,
            ("(self.gamma * F.logsigmoid(-logits)).exp()", "(self.gamma * F.logsigmoid(logits)).exp()"),
        ),
        (
            "focal_by_a_power_without_gradient",
            FOCAL,
            ("(self.gamma * F.logsigmoid(-logits)).exp()", "(-logits).sigmoid() ** self.gamma"),
        ),
        ("focal_logarithm_of_zero", FOCAL, ("* F.logsigmoid(logits)", "* logits.sigmoid().log()")),
        (
            "focal_alpha_the_wrong_way_round",
            FOCAL,
            (
                "self.alpha * targets + (1 - self.alpha) * (1 - targets)",
                "(1 - self.alpha) * targets + self.alpha * (1 - targets)",
            ),
        ),
        ("focal_sum", FOCAL, ("return loss.mean()", "return loss.sum()")),
        # Dice and Tversky
        ("regions_count_what_is_ignored", DICE, ("(part * counts)[..., None]", "part[..., None]")),
        (
            "regions_of_the_batch_for_images",
            DICE,
            ("(2,) if self.per_image else (0, 2)", "(0, 2) if self.per_image else (2,)"),
        ),
        (
            "tversky_errors_swapped",
            DICE,
            ("self.alpha * (found - both) + self.beta * (there", "self.beta * (found - both) + self.alpha * (there"),
        ),
        ("dice_half", DICE, ("(2 * both + self.smooth)", "(both + self.smooth)")),
        ("dice_smooth_below_only", DICE, ("(2 * both + self.smooth)", "(2 * both)")),
        ("dice_never_squared", DICE, ("part * part if self.squared else part", "part")),
        ("weights_of_other_classes", DICE, ("[-shares.shape[1] :]", "[: shares.shape[1]]")),
        ("weights_not_divided_by", DICE, (".sum(-1) / weights.sum()", ".sum(-1) / len(weights)")),
        ("images_of_nothing_count", DICE, ("loss[counts.flatten(1).any(1)].mean()", "loss.mean()")),
        # distances
        ("boundary_positive_inside", BOUNDARY, ("1 - distance, distance)", "distance - 1, distance)")),
        ("boundary_between_the_pixels", BOUNDARY, ("1 - distance, distance)", "-distance, distance)")),
        ("hausdorff_from_the_truth_alone", BOUNDARY, ("for part in (targets, shares))", "for part in (targets,))")),
        ("hausdorff_without_power", BOUNDARY, (" ** self.power for part", " for part")),
        ("hausdorff_absolute", BOUNDARY, ("(shares - targets) ** 2 * weight", "(shares - targets).abs() * weight")),
        (
            "distances_to_what_is_ignored",
            BOUNDARY,
            (
                "distance_transform_edt(mask | ~seen), distance_transform_edt(~mask | ~seen)",
                "distance_transform_edt(mask), distance_transform_edt(~mask)",
            ),
        ),
        ("distances_of_the_batch", BOUNDARY, ("known[image, 0]", "known[0, 0]")),
        # sums
        ("sum_without_factors", SUM, ("sum(factor * loss(logits, labels)", "sum(loss(logits, labels)")),
    ]
]
