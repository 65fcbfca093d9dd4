"""Atoms that two or more architectures share, one idea a file."""

from stitchwork.layers.attention import AttentionWeights, ScaledDotProduct, SelfAttention, explicit_attention
from stitchwork.layers.attention_free import AttentionFree
from stitchwork.layers.checks import check_divisible, check_image, check_multiple, check_positive, check_size
from stitchwork.layers.classifier import Classifier
from stitchwork.layers.constant import Constant
from stitchwork.layers.conv_norm_act import ConvNormAct, ReLU, ReLU6
from stitchwork.layers.drop_path import DropPath, drop_path_rates
from stitchwork.layers.fused_conv import (
    FusedConv2d,
    FusedConvTranspose2d,
    batch_norm_as_affine,
    dilate_kernel,
    fold_batch_norm,
    pad_kernel,
)
from stitchwork.layers.hardswish import Hardswish
from stitchwork.layers.init import init_conv_weights, init_truncated_normal
from stitchwork.layers.layer_norm import LayerNorm2d
from stitchwork.layers.layer_scale import LayerScale
from stitchwork.layers.make_divisible import make_divisible
from stitchwork.layers.mb_conv import MBConv, SiLU
from stitchwork.layers.mlp import Mlp
from stitchwork.layers.overlap_patch_embed import OverlapPatchEmbed
from stitchwork.layers.patch_embed import PatchEmbed
from stitchwork.layers.pooled_batch_norm import PooledBatchNorm
from stitchwork.layers.pooling import Pooling
from stitchwork.layers.position_table import PositionTable
from stitchwork.layers.reduced_attention import ReduceCells, ReducedAttention
from stitchwork.layers.relative_position import RelativePositionBias, offset_index
from stitchwork.layers.same_pad import SamePad2d
from stitchwork.layers.sampling import between, bilinear, weighted_sums, zero_border
from stitchwork.layers.segmenter import Segmenter
from stitchwork.layers.squeeze_excite import SqueezeExcite
from stitchwork.layers.transformer_block import TransformerBlock
from stitchwork.layers.unit_length import unit_length
from stitchwork.layers.windows import join_windows, pad_to_windows, padding_bias, split_windows

__all__ = [
    "AttentionFree",
    "AttentionWeights",
    "Classifier",
    "Constant",
    "ConvNormAct",
    "DropPath",
    "FusedConv2d",
    "FusedConvTranspose2d",
    "Hardswish",
    "LayerNorm2d",
    "LayerScale",
    "MBConv",
    "Mlp",
    "OverlapPatchEmbed",
    "PatchEmbed",
    "PooledBatchNorm",
    "Pooling",
    "PositionTable",
    "ReLU",
    "ReLU6",
    "ReduceCells",
    "ReducedAttention",
    "RelativePositionBias",
    "SamePad2d",
    "ScaledDotProduct",
    "Segmenter",
    "SelfAttention",
    "SiLU",
    "SqueezeExcite",
    "TransformerBlock",
    "batch_norm_as_affine",
    "between",
    "bilinear",
    "check_divisible",
    "check_image",
    "check_multiple",
    "check_positive",
    "check_size",
    "dilate_kernel",
    "drop_path_rates",
    "explicit_attention",
    "fold_batch_norm",
    "init_conv_weights",
    "init_truncated_normal",
    "join_windows",
    "make_divisible",
    "offset_index",
    "pad_kernel",
    "pad_to_windows",
    "padding_bias",
    "split_windows",
    "unit_length",
    "weighted_sums",
    "zero_border",
]
