"""What the contract is tested on: every registered name, and the smallest of each family for the dear checks.

A family is the set of the names that one class of one source file stands for. Blocks are small: each is tested. Where
the smallest published network is large, the dear checks take a narrower or shallower one of its class.
"""

import inspect
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby

import pytest
import torch

import stitchwork
from stitchwork.layers import Segmenter

# Segmentation networks that give their features at a part of the size of the image: source file -> its stride.
FEATURE_STRIDES = {"deeplab": 8, "seaformer": 8, "vit_adapter": 4}
# Source files of networks that go down to a 64th of the image, where the others stop at a 32nd.
DEEPER = ("seaformer",)
UNET_WIDTHS = (16, 24, 32, 40, 48)
EFFICIENT = {"dims": (24, 32, 48, 64), "mlp_ratios": ((4,), (4,), (3,), (4,)), "num_attention": 1}
# Networks that are made narrower or shallower for the dear checks, with the same parts; parity has them whole.
SMALLER = {
    "attention_unet": {"widths": UNET_WIDTHS},
    "conv2former_n": {"dims": (32, 64, 128, 256), "depths": (1, 1, 2, 1)},
    "convnext_tiny": {"dims": (24, 48, 96, 192), "depths": (1, 1, 3, 1)},
    "deeplabv3_resnet50": {"depths": (1, 1, 1, 1), "width": 16},
    "dilateformer_tiny": {"depths": (1, 1, 2, 1)},
    "efficientformerv2_s0": EFFICIENT,
    "evit_unet_s0": EFFICIENT,
    "fcn_resnet50": {"depths": (1, 1, 1, 1), "width": 16},
    "focal_tiny": {"dim": 32, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)},
    "gcvit_xxtiny": {"dim": 32, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)},
    "maxvit_tiny": {"dims": (32, 64, 96, 128), "depths": (1, 1, 2, 1), "stem_dim": 32},
    "mlp_mixer_s16": {"dim": 64, "depth": 2},
    "poolformer_s12": {"dims": (32, 64, 96, 128), "depths": (1, 1, 2, 1)},
    "poolformerv2_s12": {"dims": (32, 64, 96, 128), "depths": (1, 1, 2, 1)},
    "pvt_tiny": {"depths": (1, 1, 1, 1)},
    "repvgg_a0": {"depths": (1, 2, 3, 1)},
    "seaformer_tiny": {"depths": (1, 1)},
    "seaformer_tiny_seg": {"depths": (1, 1)},
    "shunted_tiny": {"depths": (1, 1, 2, 1)},
    "swin_tiny": {"dim": 32, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)},
    "swin_unet_tiny": {"dim": 32, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 4, 8)},
    "twins_svt_small": {"dims": (32, 64, 128, 256), "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)},
    "unet_half": {"widths": UNET_WIDTHS},
    "unet_plus_plus": {"widths": UNET_WIDTHS},
    "vit_adapter_tiny": {"dim": 48, "depth": 4},
}


@dataclass(frozen=True)
class Subject:
    """A registered name and the inputs that suit it, as (C, H, W)."""

    name: str
    kind: str
    arguments: dict = field(default_factory=dict, compare=False)

    def __str__(self):
        return self.name

    @cached_property
    def entry(self):
        return stitchwork.describe(self.name)

    @property
    def is_model(self):
        return self.kind == "model"

    @property
    def is_segmenter(self):
        return self.is_model and issubclass(self.entry.constructor, Segmenter)

    @property
    def dim(self):
        return self.entry.dim

    def default(self, argument):
        """The published value of an argument of the constructor, or of the one that it hands its keywords on to."""
        makers = (self.entry.build, *inspect.getmro(self.entry.constructor))
        known = (inspect.signature(make).parameters for make in makers)
        return next(parameters[argument].default for parameters in known if argument in parameters)

    @property
    def channels(self):
        return self.default("in_chans") if self.is_model else self.dim

    @property
    def min_size(self):
        return getattr(self.entry.constructor, "min_size", 1)

    @property
    def multiple(self):
        return getattr(self.entry.constructor, "multiple", 1)

    @property
    def default_size(self):
        return (self.channels, 224, 224) if self.is_model else (self.dim, 14, 14)

    @property
    def small_size(self):
        """Small, non-square, and no pyramid level is a single pixel."""
        if not self.is_model:
            return self.dim, 10, 14
        deeper = self.entry.module.rpartition(".")[2] in DEEPER
        return (self.channels, 128, 192) if deeper else (self.channels, 64, 96)

    def fitting(self, height, width):
        """The size itself, or a larger one where the network does not take it."""
        enough = [side if side >= self.min_size else side + 32 for side in (height, width)]
        return tuple(-(-side // self.multiple) * self.multiple for side in enough)

    def build(self, **arguments):
        """A freshly initialised module, the same one every time; for ``small_size`` if it must know the size."""
        torch.manual_seed(0)
        size = {"size": self.small_size[1:]} if self.entry.needs_size else {}
        if self.arguments:
            make, preset = self.entry.constructor, partial(self.entry.build)
            published = inspect.signature(make).bind_partial(*preset.args, **preset.keywords).arguments
            return make(**{**published, **self.arguments, **size, **arguments})
        if self.is_model:
            return stitchwork.create_model(self.name, **{**size, **arguments})
        return stitchwork.create_block(self.name, **{"dim": self.dim, **size, **arguments})

    def at(self, height, width):
        """What builds the module for images of this size: :meth:`build`, unless it must know the size."""
        return partial(self.build, size=(height, width)) if self.entry.needs_size else self.build

    def output_shape(self, shape, num_classes=None):
        """The shape that the contract promises for an input of ``shape`` (B, C, H, W)."""
        if not self.is_model:
            return tuple(shape)
        num_classes = self.default("num_classes") if num_classes is None else num_classes
        if not self.is_segmenter:
            return shape[0], num_classes
        return (shape[0], num_classes, *shape[2:]) if num_classes else self.features_shape(shape)

    def features_shape(self, shape):
        """What a segmentation network gives for an input of ``shape`` (B, C, H, W) if it has no classes."""
        with torch.device("meta"):
            channels = self.build().num_features
        stride = FEATURE_STRIDES.get(self.entry.module.rpartition(".")[2], 1)
        return (shape[0], channels, *[-(-side // stride) for side in shape[2:]])

    @cached_property
    def parameters(self):
        with torch.device("meta"):
            return sum(p.numel() for p in self.build().parameters())


def smallest_of_each_family(subjects):
    def family(subject):
        return subject.entry.module, subject.entry.constructor.__name__

    families = groupby(sorted(subjects, key=family), key=family)
    smallest = [min(family, key=lambda s: s.parameters) for _, family in families]
    return [replace(subject, arguments=SMALLER.get(subject.name, {})) for subject in smallest]


BLOCKS = [Subject(name, "block") for name in stitchwork.list_blocks() if stitchwork.describe(name).layout == "image"]
MODELS = [Subject(name, "model") for name in stitchwork.list_models()]
EVERY = BLOCKS + MODELS
SMALL_BLOCKS = BLOCKS
SMALL_MODELS = smallest_of_each_family(MODELS)
SMALL = SMALL_BLOCKS + SMALL_MODELS


def over(subjects):
    """Run a test for each of ``subjects``, with the names as ids."""
    return pytest.mark.parametrize("subject", subjects, ids=str)
