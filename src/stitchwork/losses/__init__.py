"""The losses that the chapters derive, from logits."""

from stitchwork.losses.boundary import Boundary, Hausdorff
from stitchwork.losses.cross_entropy import BinaryCrossEntropy, CrossEntropy
from stitchwork.losses.dice import Dice, Tversky
from stitchwork.losses.distillation import Distillation
from stitchwork.losses.focal import Focal
from stitchwork.losses.weighted_sum import WeightedSum

__all__ = [
    "BinaryCrossEntropy",
    "Boundary",
    "CrossEntropy",
    "Dice",
    "Distillation",
    "Focal",
    "Hausdorff",
    "Tversky",
    "WeightedSum",
]
