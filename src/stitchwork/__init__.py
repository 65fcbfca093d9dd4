"""Modern vision architectures, block by block: derived, built, proved, measured.

>>> import stitchwork
>>> block = stitchwork.create_block("coord_attention", 64)
>>> model = stitchwork.create_model("mobilenet_v2", num_classes=10)

Subpackages are imported by name when they are needed (``import stitchwork.training``), so that the plain import
stays fast and asks for nothing but torch and einops.
"""

from stitchwork.encoder_decoder import encoder_decoder, list_encoders
from stitchwork.presets import default_preset
from stitchwork.provenance import REPOSITORY, __version__, show_source
from stitchwork.registry import create_block, create_model, describe, list_blocks, list_models
from stitchwork.reparameterise import fuse
from stitchwork.stitching import stitch, stitches, unstitch

__all__ = [
    "REPOSITORY",
    "__version__",
    "create_block",
    "create_model",
    "default_preset",
    "describe",
    "encoder_decoder",
    "fuse",
    "list_blocks",
    "list_encoders",
    "list_models",
    "show_source",
    "stitch",
    "stitches",
    "unstitch",
]
