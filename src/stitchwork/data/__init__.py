"""Data without downloads, and the usual small sets where there is a network.

>>> from stitchwork import data
>>> train = data.digits("train")
>>> x, y = data.tasks.channel_identity(256, seed=0)
"""

from stitchwork.data import tasks
from stitchwork.data.digits import digits
from stitchwork.data.medical_sets import MEDICAL_SETS, Volume, load_slices, load_volumes
from stitchwork.data.pet_masks import PET_CLASSES, load_pet_masks
from stitchwork.data.phantom import ORGANS, phantom
from stitchwork.data.photographs import normalise, photographs
from stitchwork.data.vision_sets import VISION_SETS, load_vision_set

__all__ = [
    "MEDICAL_SETS",
    "ORGANS",
    "PET_CLASSES",
    "VISION_SETS",
    "Volume",
    "digits",
    "load_pet_masks",
    "load_slices",
    "load_vision_set",
    "load_volumes",
    "normalise",
    "phantom",
    "photographs",
    "tasks",
]
