"""Atoms that two or more architectures share, one idea a file."""

from stitchwork.layers.attention_free import AttentionFree
from stitchwork.layers.checks import check_image, check_multiple, check_positive, check_size
from stitchwork.layers.classifier import Classifier
from stitchwork.layers.conv_norm_act import ConvNormAct, ReLU, ReLU6
from stitchwork.layers.init import init_conv_weights
from stitchwork.layers.make_divisible import make_divisible
from stitchwork.layers.pooled_batch_norm import PooledBatchNorm
from stitchwork.layers.sampling import between, bilinear, weighted_sums, zero_border
from stitchwork.layers.unit_length import unit_length
from stitchwork.layers.windows import join_windows, pad_to_windows, split_windows

__all__ = [
    "AttentionFree",
    "Classifier",
    "ConvNormAct",
    "PooledBatchNorm",
    "ReLU",
    "ReLU6",
    "between",
    "bilinear",
    "check_image",
    "check_multiple",
    "check_positive",
    "check_size",
    "init_conv_weights",
    "join_windows",
    "make_divisible",
    "pad_to_windows",
    "split_windows",
    "unit_length",
    "weighted_sums",
    "zero_border",
]
