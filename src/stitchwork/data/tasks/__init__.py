"""Procedural tasks: each is built so that *one* property of a network decides whether it can be solved.

All are regressions with a target of mean square 1 (channel by channel, in expectation), so that the mean squared error
reads the same everywhere: 1 for a network that knows nothing, 0 for one that has understood. Every sample is drawn
anew from the seed: train on one seed and test on another. A seed gives other samples on a GPU than on a CPU.

Every pixel is drawn alike, and places are taken modulo the image, so a network with circular padding sees no border
and nothing but the property in question can give the answer away.
"""

from stitchwork.data.tasks.absolute_position import absolute_position
from stitchwork.data.tasks.channel_identity import channel_identity
from stitchwork.data.tasks.cross_channel_shift import cross_channel_kernel, cross_channel_shift

__all__ = [
    "absolute_position",
    "channel_identity",
    "cross_channel_kernel",
    "cross_channel_shift",
]
