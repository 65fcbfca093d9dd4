"""Measuring and comparing modules: cost, latency, receptive fields, inner outputs, equality with a reference."""

from stitchwork.analysis.attention_maps import AttentionMap, attention_maps
from stitchwork.analysis.compare import Difference, first_differing_layer
from stitchwork.analysis.comparison import comparison_table
from stitchwork.analysis.cost import cost_table, count_multiply_adds, count_parameters
from stitchwork.analysis.fingerprint import deviation, fill, fingerprint, images, recorded, same, tokens
from stitchwork.analysis.hooks import capture
from stitchwork.analysis.interval import Interval, interval
from stitchwork.analysis.latency import Measurement, compare_latency, measure_latency
from stitchwork.analysis.memory import measure_peak_memory
from stitchwork.analysis.receptive_field import (
    effective_receptive_field,
    gradient_support,
    theoretical_receptive_field,
)
from stitchwork.analysis.segmentation import evaluate_volumes, predict_slices, segmentation_scores

__all__ = [
    "AttentionMap",
    "Difference",
    "Interval",
    "Measurement",
    "attention_maps",
    "capture",
    "compare_latency",
    "comparison_table",
    "cost_table",
    "count_multiply_adds",
    "count_parameters",
    "deviation",
    "effective_receptive_field",
    "evaluate_volumes",
    "fill",
    "fingerprint",
    "first_differing_layer",
    "gradient_support",
    "images",
    "interval",
    "measure_latency",
    "measure_peak_memory",
    "predict_slices",
    "recorded",
    "same",
    "segmentation_scores",
    "theoretical_receptive_field",
    "tokens",
]
