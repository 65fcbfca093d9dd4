"""Atoms that two or more architectures share, one idea a file."""

from stitchwork.layers.attention_free import AttentionFree
from stitchwork.layers.checks import check_image, check_multiple, check_positive, check_size
from stitchwork.layers.classifier import Classifier
from stitchwork.layers.conv_norm_act import ConvNormAct, ReLU, ReLU6
from stitchwork.layers.drop_path import DropPath, drop_path_rates
from stitchwork.layers.fused_conv import FusedConv2d, batch_norm_as_affine, dilate_kernel, fold_batch_norm, pad_kernel
from stitchwork.layers.init import init_conv_weights
from stitchwork.layers.layer_norm import LayerNorm2d
from stitchwork.layers.layer_scale import LayerScale
from stitchwork.layers.make_divisible import make_divisible
from stitchwork.layers.pooled_batch_norm import PooledBatchNorm
from stitchwork.layers.sampling import between, bilinear, weighted_sums, zero_border
from stitchwork.layers.squeeze_excite import SqueezeExcite
from stitchwork.layers.unit_length import unit_length
from stitchwork.layers.windows import join_windows, pad_to_windows, split_windows

__all__ = [
    "AttentionFree",
    "Classifier",
    "ConvNormAct",
    "DropPath",
    "FusedConv2d",
    "LayerNorm2d",
    "LayerScale",
    "PooledBatchNorm",
    "ReLU",
    "ReLU6",
    "SqueezeExcite",
    "batch_norm_as_affine",
    "between",
    "bilinear",
    "check_image",
    "check_multiple",
    "check_positive",
    "check_size",
    "dilate_kernel",
    "drop_path_rates",
    "fold_batch_norm",
    "init_conv_weights",
    "join_windows",
    "make_divisible",
    "pad_kernel",
    "pad_to_windows",
    "split_windows",
    "unit_length",
    "weighted_sums",
    "zero_border",
]
