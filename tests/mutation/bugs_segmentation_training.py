"""Bugs of training, prediction and report for segmentation, as replacements in our source."""

from mutation import bug

RUN, SCHEDULE, CHECKPOINT = "training.run", "training.schedule", "training.checkpoint"
SEGMENTATION, INFERENCE, FILES, REPORT = "training.segmentation", "inference", "image_files", "report"
BEST, TRAINING = "training/test_best.py", "training/test_segmentation_training.py"

MUTATIONS = [
    bug("poly_is_linear", SCHEDULE, "training/test_schedule.py", ("(1 - t) ** 0.9", "1 - t")),
    bug("best_loss_is_the_highest", RUN, BEST, ('sign = -1 if score.endswith("_loss") else 1', "sign = 1")),
    bug("best_average_is_the_model", RUN, BEST, ('"ema" if self.best.startswith("ema_") else "model"', '"model"')),
    bug(
        "best_is_the_last", RUN, BEST, ("if self.best and best_epoch(self.rows, self.best) == epoch:", "if self.best:")
    ),
    bug("best_is_forgotten_by_old_checkpoints", CHECKPOINT, BEST, ("then = BEFORE | ", "then = ")),
    bug(
        "another_share_of_the_teacher_goes_on",
        CHECKPOINT,
        "training/test_identity.py",
        ("model.distillation if isinstance(model, Taught) else loss", "loss"),
    ),
    bug(
        "another_weight_of_a_loss_goes_on",
        CHECKPOINT,
        "training/test_identity.py",
        ("dict(value.named_children())", "{}"),
    ),
    bug(
        "a_map_is_taught_as_one_image",
        "losses.distillation",
        TRAINING,
        ("divergence.mean() * (t * t)", "divergence.sum() / len(taught) * (t * t)"),
    ),
    bug("synapse_chooses_by_scans_it_learns_from", SEGMENTATION, TRAINING, ("not in chosen]", "]")),
    bug("dice_counts_the_background", SEGMENTATION, TRAINING, ("include_background=False", "include_background=True")),
    bug("the_phantom_tests_what_it_learnt", SEGMENTATION, TRAINING, ("3 * index + self.part", "index")),
    bug("tiles_have_seams", INFERENCE, "test_inference.py", (".clamp(max=1)).square()", ".clamp(max=1)).ceil()")),
    bug("tiles_are_not_averaged", INFERENCE, "test_inference.py", ("return total / weights", "return total")),
    bug("zeros_are_filled_in", INFERENCE, "test_inference.py", ('mode="replicate"', 'mode="constant"')),
    bug(
        "labels_go_over_the_input",
        FILES,
        "test_image_files.py",
        ("if target.resolve() in", "if target in [] or None in"),
    ),
    bug("half_a_file_of_labels_stays", FILES, "test_image_files.py", ("part.unlink(missing_ok=True)", "pass")),
    bug(
        "the_overlay_shows_the_first_slice",
        FILES,
        "test_image_files.py",
        ("numpy.argmax([", "0 * numpy.argmax(["),
    ),
    bug("the_worst_case_is_the_best", REPORT, "test_report.py", ('"worst": 0', '"worst": -1')),
    bug(
        "an_interval_over_classes",
        REPORT,
        "test_report.py",
        ('groupby("case")[["dice", "hd95"]]', 'groupby("class")[["dice", "hd95"]]'),
    ),
    bug(
        "whatever_onnx_computes_is_kept",
        "onnx_export",
        "test_onnx_export.py",
        ("if not difference <= tolerance:", "if False:"),
    ),
]
