"""Data without downloads, and the usual small sets where there is a network.

>>> from stitchwork import data
>>> train = data.digits("train")
>>> x, y = data.tasks.channel_identity(256, seed=0)
"""

from stitchwork.data import tasks
from stitchwork.data.digits import digits
from stitchwork.data.phantom import ORGANS, phantom
from stitchwork.data.photographs import normalise, photographs
from stitchwork.data.vision_sets import VISION_SETS, load_vision_set

__all__ = ["ORGANS", "VISION_SETS", "digits", "load_vision_set", "normalise", "phantom", "photographs", "tasks"]
