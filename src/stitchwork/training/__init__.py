"""A training loop short enough to read, and exact enough to resume bit for bit.

>>> from stitchwork.training import Recipe, evaluate, fit
>>> history = fit(model, train, valid, Recipe(epochs=5, lr=3e-3))
"""

from stitchwork.training.distillation import Taught
from stitchwork.training.evaluation import evaluate
from stitchwork.training.history import History
from stitchwork.training.interrupt import TrainingInterrupted
from stitchwork.training.loop import fit
from stitchwork.training.progressive import EFFICIENTNET_V2_L, EFFICIENTNET_V2_M, EFFICIENTNET_V2_S, Progressive
from stitchwork.training.recipe import Recipe

__all__ = [
    "EFFICIENTNET_V2_L",
    "EFFICIENTNET_V2_M",
    "EFFICIENTNET_V2_S",
    "History",
    "Progressive",
    "Recipe",
    "Taught",
    "TrainingInterrupted",
    "evaluate",
    "fit",
]
