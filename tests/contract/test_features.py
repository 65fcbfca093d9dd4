"""The parts of a network: features, head, pooled features, pyramid."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from .probes import assert_same, exact, noise
from .subjects import MODELS, SMALL_MODELS, over

STRIDES = (4, 8, 16, 32)
PYRAMIDS = [s for s in MODELS if hasattr(s.entry.constructor, "forward_pyramid")]
SMALL_PYRAMIDS = [s for s in SMALL_MODELS if hasattr(s.entry.constructor, "forward_pyramid")]
# Networks that cut patches or pool without padding, so that what is left over on the right and below is not looked at:
# source file -> the size of the map at a stride, where it is not rounded up.
LEFT_OVER = {
    "attention_unet": lambda size, stride: size // stride,
    "conv2former": lambda size, stride: (size + 1) // 2 * 2 // stride,  # its first convolution pads
    "convnext": lambda size, stride: size // stride,
    "fasternet": lambda size, stride: size // stride,
    "inception_next": lambda size, stride: size // stride,
    "unet": lambda size, stride: size // stride,
    "unet_plus_plus": lambda size, stride: size // stride,
}
# Networks whose maps are at other strides.
OTHER_STRIDES = {
    "attention_unet": (1, 2, 4, 8, 16),
    "cvt": (4, 8, 16),
    "deeplab": (4, 8, 8, 8),
    "unet": (1, 2, 4, 8, 16),
    "unet_plus_plus": (1, 2, 4, 8, 16),
}
# Networks whose maps leave side by side at the end, and are not made one from the other.
SIDE_BY_SIDE = ("vit_adapter",)


def family_of(subject):
    return subject.entry.module.rpartition(".")[2]


def strides_of(subject):
    return OTHER_STRIDES.get(family_of(subject), STRIDES)


def check_parts(build, shape):
    """``forward`` is ``forward_head`` of ``forward_features``; the features have ``num_features`` channels.

    Logits of a map that is smaller than the image are scaled up.
    """
    module, x = exact(build), noise(shape, dtype=torch.float64)
    with torch.no_grad():
        features = module.forward_features(x)
        channels = features.shape[1 if features.dim() == 4 else -1]  # of a map (B, C, H, W), or of tokens (B, N, C)
        assert channels == module.num_features, f"{channels} channels, not {module.num_features}"
        logits = module.forward_head(features)
        if logits.dim() == 4:
            logits = F.interpolate(logits, size=x.shape[2:], mode="bilinear")
        assert_same(logits, module(x), "forward_head(forward_features(x)) against forward(x)", 0)


def check_pooled_features(build, shape):
    """``num_classes=0`` gives what the linear classifier sees, (B, head_features): by default the means of the map."""
    module, x = exact(lambda: build(num_classes=0)), noise(shape, dtype=torch.float64)
    with torch.no_grad():
        pooled = module(x)
        assert pooled.shape == (shape[0], module.head_features), f"pooled features have shape {tuple(pooled.shape)}"
        classifier = build(num_classes=7).double().eval()
        lacking = classifier.load_state_dict(module.state_dict(), strict=False)
        assert not lacking.unexpected_keys, f"without classes there are more weights: {lacking.unexpected_keys}"
        assert_same(classifier.pre_logits(classifier.forward_features(x)), pooled, "pooled features")


def check_features_of_pixels(build, shape, expected):
    """``num_classes=0`` gives the features, of the ``expected`` shape, that the classifier of the pixels sees."""
    module, x = exact(lambda: build(num_classes=0)), noise(shape, dtype=torch.float64)
    with torch.no_grad():
        features = module(x)
        assert tuple(features.shape) == tuple(expected), f"features have shape {tuple(features.shape)}"
        classifier = build(num_classes=7).double().eval()
        lacking = classifier.load_state_dict(module.state_dict(), strict=False)
        assert not lacking.unexpected_keys, f"without classes there are more weights: {lacking.unexpected_keys}"
        assert_same(classifier.forward_features(x), features, "features")


def rounded_up(size, stride):
    return math.ceil(size / stride)


def check_pyramid(build, shape, size_at=rounded_up, strides=STRIDES):
    """A map at each of the strides, of the right sizes, with the channels that ``pyramid_channels`` announces."""
    module = build().eval()
    with torch.no_grad():
        maps = module.forward_pyramid(noise(shape))
    assert len(maps) == len(strides), f"{len(maps)} maps"
    expected = [
        (shape[0], channels, size_at(shape[2], stride), size_at(shape[3], stride))
        for channels, stride in zip(module.pyramid_channels, strides, strict=True)
    ]
    assert [tuple(m.shape) for m in maps] == expected, f"{[tuple(m.shape) for m in maps]}, expected {expected}"
    assert isinstance(module.pyramid_channels, tuple), "pyramid_channels is not a tuple"


def last_map(module, maps):
    """The last map of the pyramid as it is."""
    return maps[-1]


def normalised_last_map(module, maps):
    """The last map through the norm that follows it."""
    return module.norm(maps[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def batch_normalised_last_map(module, maps):
    """The last map through the BatchNorm that follows it."""
    return module.norm(maps[-1])


# What the features are made of, where it is not the last map itself; MSG-Transformer's are its messengers.
FEATURES_OF = dict.fromkeys(("dilateformer", "focal", "gcvit", "swin", "twins"), normalised_last_map)
FEATURES_OF["efficientformerv2"] = batch_normalised_last_map
FEATURES_OF["msg_transformer"] = None


def check_pyramid_is_the_network(build, shape, features_of=last_map):
    """The maps are stations on one way: each is computed from the one before it, and the last leads to the head."""
    module, x = exact(build), noise(shape, dtype=torch.float64).requires_grad_()
    maps = module.forward_pyramid(x)
    for earlier, later in pairwise(maps):
        (gradient,) = torch.autograd.grad(later.sum(), earlier, retain_graph=True, allow_unused=True)
        assert gradient is not None, "a map of the pyramid is not computed from the one before it"
    with torch.no_grad():
        features = module.forward_features(x)
        if features_of and features.shape[1] == maps[-1].shape[1]:
            assert_same(features, features_of(module, maps), "the last map of the pyramid against forward_features")


@over(SMALL_MODELS)
def test_parts(subject):
    build = partial(subject.build, num_classes=7) if subject.is_segmenter else subject.build
    check_parts(build, (2, *subject.small_size))


@over([subject for subject in SMALL_MODELS if not subject.is_segmenter])
def test_pooled_features(subject):
    check_pooled_features(subject.build, (2, *subject.small_size))


@over([subject for subject in SMALL_MODELS if subject.is_segmenter])
def test_features_of_pixels(subject):
    shape = (2, *subject.small_size)
    check_features_of_pixels(subject.build, shape, subject.features_shape(shape))


@pytest.mark.parametrize("size", [(64, 96), (75, 91)], ids="{0[0]}x{0[1]}".format)
@over(SMALL_PYRAMIDS)
def test_pyramid(subject, size):
    size_at = LEFT_OVER.get(family_of(subject), rounded_up)
    check_pyramid(subject.build, (2, subject.channels, *subject.fitting(*size)), size_at, strides_of(subject))


@over([subject for subject in SMALL_PYRAMIDS if family_of(subject) not in SIDE_BY_SIDE])
def test_pyramid_is_the_network(subject):
    features_of = FEATURES_OF.get(family_of(subject), last_map)
    check_pyramid_is_the_network(subject.build, (2, *subject.small_size), features_of)


@over(PYRAMIDS)
def test_pyramid_of_every_network(subject):
    with torch.device("meta"):
        module = subject.build().eval()
        maps = module.forward_pyramid(torch.empty(1, subject.channels, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, 64 // s, 96 // s) for c, s in zip(module.pyramid_channels, strides_of(subject), strict=True)
    ]
