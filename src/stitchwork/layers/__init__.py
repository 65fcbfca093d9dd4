"""Atoms that two or more architectures share, one idea a file."""

from stitchwork.layers.checks import check_image, check_positive
from stitchwork.layers.classifier import Classifier
from stitchwork.layers.conv_norm_act import ConvNormAct, ReLU, ReLU6
from stitchwork.layers.init import init_conv_weights
from stitchwork.layers.make_divisible import make_divisible

__all__ = [
    "Classifier",
    "ConvNormAct",
    "ReLU",
    "ReLU6",
    "check_image",
    "check_positive",
    "init_conv_weights",
    "make_divisible",
]
