"""Procedural tasks: each is built so that *one* property of a network decides whether it can be solved.

All but ``glyph_anywhere``, ``strokes`` and ``wallpaper``, which ask for a class, are regressions with a target of mean
square 1 (channel by channel, in expectation), so that the mean squared error reads the same everywhere: 1 for a network
that knows nothing, 0 for one that has understood. Every sample is drawn anew from the seed: train on one seed and test
on another. A seed gives other samples on a GPU than on a CPU.

Every pixel is drawn alike, and places are taken modulo the image, so a network with circular padding sees no border
and nothing but the property in question can give the answer away. (In ``far_pairs`` places are not taken modulo the
image: there, far must be far.)
"""

from stitchwork.data.tasks.absolute_position import absolute_position
from stitchwork.data.tasks.announcement import announcement
from stitchwork.data.tasks.associative_recall import associative_recall
from stitchwork.data.tasks.channel_identity import channel_identity
from stitchwork.data.tasks.cross_channel_shift import cross_channel_kernel, cross_channel_shift
from stitchwork.data.tasks.disk_radius import disk_radius, disk_radius_floor
from stitchwork.data.tasks.dynamic_kernel import dynamic_kernel
from stitchwork.data.tasks.far_pairs import far_pairs
from stitchwork.data.tasks.glyph_anywhere import glyph_anywhere, glyphs
from stitchwork.data.tasks.many_choices import many_choices
from stitchwork.data.tasks.objects_in_clutter import objects_in_clutter
from stitchwork.data.tasks.partner_lookup import partner_lookup
from stitchwork.data.tasks.prototypes import prototypes, prototypes_posterior
from stitchwork.data.tasks.sampling_distance import sampling_distance
from stitchwork.data.tasks.single_outlier import single_outlier
from stitchwork.data.tasks.stripes import stripes
from stitchwork.data.tasks.strokes import strokes
from stitchwork.data.tasks.thin_curves import thin_curves, thin_curves_posterior
from stitchwork.data.tasks.upside_down import upside_down
from stitchwork.data.tasks.wallpaper import wallpaper
from stitchwork.data.tasks.whom_to_ask import whom_to_ask

__all__ = [
    "absolute_position",
    "announcement",
    "associative_recall",
    "channel_identity",
    "cross_channel_kernel",
    "cross_channel_shift",
    "disk_radius",
    "disk_radius_floor",
    "dynamic_kernel",
    "far_pairs",
    "glyph_anywhere",
    "glyphs",
    "many_choices",
    "objects_in_clutter",
    "partner_lookup",
    "prototypes",
    "prototypes_posterior",
    "sampling_distance",
    "single_outlier",
    "stripes",
    "strokes",
    "thin_curves",
    "thin_curves_posterior",
    "upside_down",
    "wallpaper",
    "whom_to_ask",
]
