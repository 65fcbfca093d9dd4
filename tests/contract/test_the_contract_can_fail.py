"""A check that cannot fail proves nothing: each one meets a small module that breaks just what it checks.

Every fault here has been found in published or popular code. ``Sound``, which has none of them, passes every check, so
that it is the fault that is caught and not the form of the module.
"""

import copy
import re
import tempfile
import types
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.layers import check_image, check_positive

from .probes import exact, noise
from .test_batch import check_bad_neighbour, check_batch_independence
from .test_compilers import check_export, check_one_graph, check_one_graph_for_all_sizes
from .test_counts import check_parameter_count, published
from .test_devices import check_built_on_meta, check_moved_to_meta, check_same_on_gpu, needs_gpu
from .test_documentation import check_class_documented, check_entry, check_module_documented, check_name
from .test_errors import check_refused, check_refuses_argument, check_refuses_inputs, check_refuses_small
from .test_features import (
    check_features_of_pixels,
    check_parts,
    check_pooled_features,
    check_pyramid,
    check_pyramid_is_the_network,
)
from .test_gradients import check_gradients
from .test_initialisation import check_logits, check_scale, check_zero_input
from .test_learning import check_overfits, hosted
from .test_lints import check_lints
from .test_memory_layout import check_channels_last, check_strided_input
from .test_persistence import check_copy, check_everything_registered, check_round_trip, pickled
from .test_precision import check_autocast, check_half_module
from .test_purity import check_eval_is_deterministic, check_eval_keeps_state, check_input_untouched
from .test_receptive_field import behaviour, check_gradient_support, check_permutation
from .test_sequences import check_all_lengths, check_equal, check_reach, check_refuses_sequences
from .test_shapes import (
    check_exact_or_refused,
    check_output_shape,
    check_shape_on_meta,
    check_single_item_in_training,
)

SHAPE = (2, 4, 6, 8)


class Sound(nn.Module):
    """A block without a fault: a 3x3 convolution, and a gate from the mean.

    Args:
        dim: channels.

    Shapes:
        (B, dim, H, W) -> (B, dim, H, W)
    """

    def __init__(self, dim: int = 4):
        super().__init__()
        check_positive("Sound", dim=dim)
        self.dim = dim
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        """The same shape."""
        check_image(x, self.dim, type(self).__name__)
        return self.conv(x) * torch.sigmoid(self.mix(x.mean((2, 3), keepdim=True)))


# ---------------------------------------------------------------------------------------------------- shapes


class Shrinks(Sound):
    def forward(self, x):
        return super().forward(x)[..., :-1]


class NotANumber(Sound):
    def forward(self, x):
        return super().forward(x) / x.var((2, 3), keepdim=True)  # one pixel has no variance


class NormOfOnePixel(Sound):
    """BatchNorm on pooled features: no batch of one in training."""

    def __init__(self, dim: int = 4):
        super().__init__(dim)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x):
        return super().forward(x) * self.norm(x.mean((2, 3), keepdim=True))


# ------------------------------------------------------------------------------------------------- the batch


class SoftmaxOverBatch(Sound):
    def forward(self, x):
        return super().forward(x) * x.mean((2, 3), keepdim=True).softmax(0)


class ReadsFirstItem(Sound):
    def forward(self, x):
        return super().forward(x) + x[:1]


# ------------------------------------------------------------------------------------------------- gradients


class DeadLayer(Sound):
    def __init__(self, dim: int = 4):
        super().__init__(dim)
        self.unused = nn.Linear(dim, dim)


class BiasBeforeNorm(Sound):
    def __init__(self, dim: int = 4):
        super().__init__(dim)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x):
        return self.norm(self.conv(x)) * torch.sigmoid(self.mix(x.mean((2, 3), keepdim=True)))


class ZeroGradient(Sound):
    """A softmax over an axis of length one: always 1."""

    def forward(self, x):
        return self.conv(x) * self.mix(x.mean((2, 3), keepdim=True)).softmax(-1)


class InfiniteGradient(Sound):
    def forward(self, x):
        return super().forward(x) * (x - x).sqrt().add(1)


# ------------------------------------------------------------------------------------------------- precision


class FloatConstant(Sound):
    """A float32 constant promotes bfloat16 to float32."""

    def forward(self, x):
        return super().forward(x) * torch.ones(1, self.dim, 1, 1, device=x.device)


class NeedsManyDigits(Sound):
    """Fine in float32; to bfloat16 256.001 is 256, and the logarithm that of zero."""

    def forward(self, x):
        y = super().forward(x)
        return y + torch.log((0 * y + 256.001) - 256)


# ---------------------------------------------------------------------------------------------------- layout


class ReadsMemoryOrder(Sound):
    """Depends on how the numbers lie in memory."""

    def forward(self, x):
        flat = x.as_strided((x.shape[0], x[0].numel()), (x[0].numel(), 1))
        return super().forward(x) + flat.reshape(x.shape)


# ---------------------------------------------------------------------------------------------------- purity


class WritesIntoInput(Sound):
    def forward(self, x):
        y = super().forward(x)
        x[:, 0] = 0
        return y


class DropsInEval(Sound):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.1)


class CountsCalls(Sound):
    def __init__(self, dim: int = 4):
        super().__init__(dim)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class RewritesParameter(Sound):
    def forward(self, x):
        self.mix.weight = nn.Parameter(self.mix.weight.clamp(-0.1, 0.1))
        return super().forward(x)


# ------------------------------------------------------------------------------------------------- compilers


class AsksForAValue(Sound):
    def forward(self, x):
        y = super().forward(x)
        return y * 2 if x.mean().item() > 0 else y


class BuiltForOneHeight(Sound):
    """Turns the size into a plain number, so that each one is compiled anew."""

    def forward(self, x):
        return super().forward(x) * len([None] * int(x.shape[2]))


class BuiltForTwoItems(Sound):
    def forward(self, x):
        return super().forward(x).reshape(2, self.dim, *x.shape[2:])


# -------------------------------------------------------------------------------------- persistence, devices


class PlainTensor(Sound):
    def __init__(self, dim: int = 4):
        super().__init__(dim)
        self.scale = torch.rand(1)  # another one in each instance, and not saved

    def forward(self, x):
        return super().forward(x) * self.scale.to(x.dtype)


class HiddenList(Sound):
    def __init__(self, dim: int = 4):
        super().__init__(dim)
        self.layers = [nn.Conv2d(dim, dim, 1)]


class HardCodedDevice(Sound):
    def forward(self, x):
        return super().forward(x) + torch.zeros(x.shape, device="cpu", dtype=x.dtype)


class OtherwiseOnGpu(Sound):
    def forward(self, x):
        return super().forward(x) + x.is_cuda


class SharedByCopies(Sound):
    def __deepcopy__(self, memo):
        twin = type(self)(self.dim)
        twin.conv, twin.mix = self.conv, self.mix
        return twin


class Forgetful(Sound):
    """Comes back from pickle with fresh weights."""

    def __reduce__(self):
        return fresh, (type(self), self.dim)


def fresh(cls, dim):
    return cls(dim).double().eval()


# ------------------------------------------------------------------------------------------- errors and words


class Silent(nn.Module):
    def __init__(self, dim=4, reduction=1):
        super().__init__()

    def forward(self, x):
        return x


class OnlyTorchSpeaks(Sound):
    def forward(self, x):
        return self.conv(x)


class SaysItNeedsMore(Sound):
    min_size = 4


class Undocumented(nn.Module):
    def __init__(self, dim):
        super().__init__()

    def forward(self, x):
        return x


# ---------------------------------------------------------------------------------------------- initialisation


class StartsTiny(Sound):
    def __init__(self, dim: int = 4):
        super().__init__(dim)
        nn.init.normal_(self.conv.weight, std=0.001)
        nn.init.zeros_(self.conv.bias)


class DeadBlock(Sound):
    def forward(self, x):
        return 0 * super().forward(x)


class DividesByNorm(Sound):
    def forward(self, x):
        return super().forward(x) + x / x.norm(dim=1, keepdim=True)


# ------------------------------------------------------------------------------------------------- sequences


class SoundSequence(nn.Module):
    """Mean of a step and the one before it: (B, T, C) -> (B, T - 1, C)."""

    def __init__(self, dim: int = 4):
        super().__init__()
        self.dim = dim
        self.mix = nn.Linear(dim, dim)

    def forward(self, x):
        if x.dim() != 3 or x.shape[2] != self.dim:
            raise ValueError(f"{type(self).__name__} takes (B, T, {self.dim}); got {tuple(x.shape)}: reshape it")
        if x.shape[1] < 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 steps; got {tuple(x.shape)}: take more")
        return self.mix(x[:, 1:] + x[:, :-1])


class SeesTheFuture(SoundSequence):
    def forward(self, x):
        return super().forward(x) + 0.1 * x.mean(1, keepdim=True)


class ForgetsAStep(SoundSequence):
    def forward(self, x):
        return super().forward(x) - self.mix(x[:, :-1])


class BuiltForOneLength(SoundSequence):
    def forward(self, x):
        return super().forward(x) * len([None] * int(x.shape[1]))


class TakesAnySequence(SoundSequence):
    def forward(self, x):
        return self.mix(x[:, 1:] + x[:, :-1])


# -------------------------------------------------------------------------------------------------- networks


class Network(nn.Module):
    """A sound classifier with a pyramid.

    Args:
        num_classes: logits.
        width: of the last map.
    """

    def __init__(self, num_classes: int = 8, width: int = 16):
        super().__init__()
        self.num_features, self.head_features, self.pyramid_channels = width, width, (4, 8, 8, width)
        channels = (3, *self.pyramid_channels)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 4 if a == 3 else 2, 1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(channels)
        )
        self.head = nn.Linear(width, num_classes) if num_classes else nn.Identity()

    def forward_pyramid(self, x):
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x):
        return self.forward_pyramid(x)[-1]

    def pre_logits(self, x):
        return x.mean((2, 3))

    def forward_head(self, x):
        return self.head(self.pre_logits(x))

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


class Probabilities(Network):
    def forward_head(self, x):
        return super().forward_head(x).softmax(1)


class Bounded(Network):
    def forward_head(self, x):
        return super().forward_head(x).tanh()


class OtherHead(Network):
    def forward(self, x):
        return self.head(self.forward_features(x).amax((2, 3)))


class PooledDifferently(Network):
    def forward_head(self, x):
        return super().forward_head(x) if isinstance(self.head, nn.Linear) else x.amax((2, 3))


class WrongChannels(Network):
    def __init__(self, num_classes: int = 8):
        super().__init__(num_classes)
        self.pyramid_channels = (4, 8, 8, 32)


class RoundsDown(Network):
    def forward_pyramid(self, x):
        return super().forward_pyramid(x[..., : x.shape[3] // 32 * 32])


class PyramidBeside(Network):
    def forward_pyramid(self, x):
        return [*super().forward_pyramid(x)[:3], super().forward_pyramid(x)[3]]


class ForgetsTheInput(Network):
    def forward_features(self, x):
        return super().forward_features(x) * 0


class PixelNetwork(nn.Module):
    """A sound network for segmentation: features of half the size, a 1x1 convolution, logits scaled up."""

    def __init__(self, num_classes: int = 8):
        super().__init__()
        self.num_classes, self.num_features = num_classes, 16
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Conv2d(16, num_classes, 1) if num_classes else nn.Identity()

    def forward_features(self, x):
        return self.body(x)

    def forward_head(self, x):
        return self.head(x)

    def forward(self, x):
        y = self.forward_head(self.forward_features(x))
        return F.interpolate(y, size=x.shape[2:], mode="bilinear") if self.num_classes else y


class ScalesUpByRepeating(PixelNetwork):
    def forward(self, x):
        return F.interpolate(self.forward_head(self.forward_features(x)), size=x.shape[2:])


class BoundedPixels(PixelNetwork):
    def forward_head(self, x):
        return super().forward_head(x).tanh()


class FeaturesScaledUp(PixelNetwork):
    def forward(self, x):
        return F.interpolate(self.forward_head(self.forward_features(x)), size=x.shape[2:], mode="bilinear")


class OtherFeatures(PixelNetwork):
    def forward_features(self, x):
        return super().forward_features(x) * (1 if self.num_classes else 2)


# What the checks are called with, and who must pass and fail: (id, check, sound, broken).
IMAGE = (2, 3, 64, 96)
ODD_IMAGE = (2, 3, 75, 91)


def pointwise():
    return nn.Conv2d(4, 4, 1)


def three_by_three():
    return nn.Conv2d(4, 4, 3, padding=1)


def five_by_five():
    return nn.Conv2d(4, 4, 5, padding=2)


def round_trip(build):
    with tempfile.TemporaryDirectory() as folder:
        check_round_trip(build, SHAPE, Path(folder) / "state.safetensors")


def equal_to_sound(build):
    module, sound = exact(build), SoundSequence().double()
    sound.load_state_dict(module.state_dict())
    check_equal(module, sound, noise((2, 6, 4), dtype=torch.float64))


CASES = [
    ("shape", lambda build: check_output_shape(build, SHAPE, SHAPE), Sound, [Shrinks]),
    ("finite", lambda build: check_output_shape(build, (2, 4, 1, 1), (2, 4, 1, 1)), Sound, [NotANumber]),
    ("shape_on_meta", lambda build: check_shape_on_meta(build, SHAPE, SHAPE), Sound, [Shrinks]),
    ("tiny", lambda build: check_exact_or_refused(build, (2, 4, 1, 1), (2, 4, 1, 1)), Sound, [Shrinks, NotANumber]),
    ("single", lambda build: check_single_item_in_training(build, (1, *SHAPE[1:])), Sound, [NormOfOnePixel]),
    ("batch", lambda build: check_batch_independence(build, SHAPE), Sound, [SoftmaxOverBatch, ReadsFirstItem]),
    ("neighbour", lambda build: check_bad_neighbour(build, SHAPE), Sound, [SoftmaxOverBatch]),
    (
        "gradients",
        lambda build: check_gradients(build, SHAPE),
        Sound,
        [DeadLayer, BiasBeforeNorm, ZeroGradient, InfiniteGradient],
    ),
    ("exceptions", lambda build: check_gradients(build, SHAPE, ["conv.bias"]), BiasBeforeNorm, [Sound, Silent]),
    ("autocast", lambda build: check_autocast(build, SHAPE), Sound, [NeedsManyDigits]),
    ("half", lambda build: check_half_module(build, SHAPE), Sound, [FloatConstant, NeedsManyDigits]),
    ("channels_last", lambda build: check_channels_last(build, SHAPE), Sound, [ReadsMemoryOrder]),
    ("strided", lambda build: check_strided_input(build, SHAPE), Sound, [ReadsMemoryOrder]),
    ("input_eval", lambda build: check_input_untouched(build, SHAPE, False), Sound, [WritesIntoInput]),
    ("input_train", lambda build: check_input_untouched(build, SHAPE, True), Sound, [WritesIntoInput]),
    ("deterministic", lambda build: check_eval_is_deterministic(build, SHAPE), Sound, [DropsInEval]),
    ("state", lambda build: check_eval_keeps_state(build, SHAPE), Sound, [CountsCalls, RewritesParameter]),
    ("one_graph", lambda build: check_one_graph(build, SHAPE), Sound, [AsksForAValue]),
    (
        "all_sizes",
        lambda build: check_one_graph_for_all_sizes(build, 4, [(2, 6, 8), (3, 9, 7)]),
        Sound,
        [AsksForAValue, BuiltForOneHeight],
    ),
    ("export", lambda build: check_export(build, SHAPE), Sound, [AsksForAValue, BuiltForTwoItems]),
    ("round_trip", round_trip, Sound, [PlainTensor]),
    ("registered", check_everything_registered, Sound, [PlainTensor, HiddenList]),
    ("deepcopy", lambda build: check_copy(build, SHAPE, copy.deepcopy), Sound, [SharedByCopies]),
    ("pickle", lambda build: check_copy(build, SHAPE, pickled), Sound, [Forgetful]),
    ("built_on_meta", lambda build: check_built_on_meta(build, SHAPE), Sound, [HardCodedDevice]),
    ("moved_to_meta", lambda build: check_moved_to_meta(build, SHAPE), Sound, [HardCodedDevice, PlainTensor]),
    ("count", lambda build: check_parameter_count(build, 168), Sound, [DeadLayer, Silent]),
    (
        "all_lengths",
        lambda build: check_all_lengths(build, [(2, 6, 4), (3, 9, 4)]),
        SoundSequence,
        [BuiltForOneLength],
    ),
    (
        "reach",
        lambda build: check_reach(build, (2, 6, 4), 1, 2, {2, 3}),
        SoundSequence,
        [SeesTheFuture, ForgetsAStep],
    ),
    (
        "sequences",
        lambda build: check_refuses_sequences(build, (2, 6, 4), 2, 1, 2),
        SoundSequence,
        [TakesAnySequence],
    ),
    ("equal", equal_to_sound, SoundSequence, [SeesTheFuture]),
    ("inputs", lambda build: check_refuses_inputs(build, SHAPE), Sound, [Silent, OnlyTorchSpeaks]),
    ("small", lambda build: check_refuses_small(build, 4), Sound, [SaysItNeedsMore]),
    ("argument", lambda build: check_refuses_argument(build, "dim"), Sound, [Silent]),
    ("scale", lambda build: check_scale(build(), noise(SHAPE)), Sound, [StartsTiny]),
    ("zero_input", lambda build: check_zero_input(build, SHAPE), Sound, [DividesByNorm]),
    ("logits", lambda build: check_logits(build, IMAGE), Network, [Probabilities, Bounded]),
    (
        "overfit",
        lambda build: check_overfits(build, (8, 3, 64, 64), 150, 0.01),
        Network,
        [Probabilities, ForgetsTheInput],
    ),
    ("overfit_block", lambda build: check_overfits(hosted(build, 4), (8, 3, 16, 16), 300, 0.03), Sound, [DeadBlock]),
    ("parts", lambda build: check_parts(build, IMAGE), Network, [OtherHead]),
    ("parts_of_pixels", lambda build: check_parts(build, IMAGE), PixelNetwork, [ScalesUpByRepeating]),
    ("logits_of_pixels", lambda build: check_logits(build, IMAGE), PixelNetwork, [BoundedPixels]),
    (
        "features_of_pixels",
        lambda build: check_features_of_pixels(build, IMAGE, (2, 16, 32, 48)),
        PixelNetwork,
        [FeaturesScaledUp, OtherFeatures],
    ),
    ("pooled", lambda build: check_pooled_features(build, IMAGE), Network, [PooledDifferently]),
    ("pyramid", lambda build: check_pyramid(build, ODD_IMAGE), Network, [WrongChannels, RoundsDown]),
    ("pyramid_way", lambda build: check_pyramid_is_the_network(build, IMAGE), Network, [PyramidBeside]),
    ("class", lambda build: check_class_documented(build), Sound, [Undocumented, Silent]),
    (
        "support",
        lambda build: check_gradient_support(build, 4, 9, (3, 3)),
        three_by_three,
        [pointwise, five_by_five],
    ),
    ("equivariant", lambda build: check_permutation(build, SHAPE, True), pointwise, [three_by_three]),
    ("not_equivariant", lambda build: check_permutation(build, SHAPE, False), three_by_three, [pointwise]),
]


@pytest.mark.parametrize(("check", "sound"), [pytest.param(c, s, id=name) for name, c, s, _ in CASES])
def test_sound_modules_pass(check, sound):
    torch.manual_seed(0)
    check(sound)


@pytest.mark.parametrize(
    ("check", "broken"), [pytest.param(c, b, id=f"{name}-{b.__name__}") for name, c, _, bad in CASES for b in bad]
)
def test_broken_modules_are_caught(check, broken):
    torch.manual_seed(0)
    with pytest.raises(AssertionError):
        check(broken)


@needs_gpu
def test_gpu_check_can_fail():
    check_same_on_gpu(Sound, SHAPE)
    with pytest.raises(AssertionError):
        check_same_on_gpu(OtherwiseOnGpu, SHAPE)


def documented(text):
    module = types.ModuleType("documented", text)
    module.PAPER = "author2020word"
    return module


SOUND_TEXT = "Title.\n\nPaper: author2020word, section 1.\n\nCost: C.\n\nWhere this differs: nothing."


def test_module_documentation_can_fail():
    check_module_documented(documented(SOUND_TEXT))
    for part in ("author2020word", "Cost", "Where this differs"):
        with pytest.raises(AssertionError):
            check_module_documented(documented(SOUND_TEXT.replace(part, "")))


@pytest.mark.parametrize(
    "fault", [{"paper": ""}, {"chapter": ""}, {"references": ()}, {"references": ("a blog",)}], ids=repr
)
def test_entry_can_fail(fault):
    sound = {"name": "sound", "paper": "author2020word", "chapter": "01_sound", "references": ("recorded:sound",)}
    check_entry(types.SimpleNamespace(**sound))
    with pytest.raises(AssertionError):
        check_entry(types.SimpleNamespace(**sound | fault))


def test_name_can_fail():
    check_name("resnext50_32x4d")
    for name in ("ResNet50", "resnet-50", "resnet50_", "50resnet"):
        with pytest.raises(AssertionError):
            check_name(name)


def refusal(error):
    def call():
        raise error

    return call


def test_refusal_can_fail():
    check_refused(refusal(ValueError("Sound: dim must be greater than 0; got -1")), "dim", "-1")
    for call in (
        lambda: None,
        refusal(RuntimeError("dim must be greater than 0; got -1")),
        refusal(ValueError("Sound: dim must be greater than 0")),
        refusal(ValueError("Sound: dim is -1")),
    ):
        with pytest.raises(AssertionError):
            check_refused(call, "dim", "-1")


@pytest.mark.parametrize(
    "fault",
    [
        "x.cuda()",
        "x.mean().item()",
        "F.softmax(x)",
        "x.softmax()",
        "nn.Softmax()",
        "F.dropout(x, 0.5)",
        "print(x)",
        "nn.Parameter(x)",
        "nn.Linear(3, 3)",
        "x.data",
    ],
)
def test_lints_can_fail(fault):
    method = "def forward(self, x):\n    return {}\n"
    check_lints(method.format("F.dropout(x.softmax(1) + F.softmax(x, 1), 0.5, self.training)"))
    with pytest.raises(AssertionError):
        check_lints(method.format(fault))


def test_published_facts_can_be_missing():
    with pytest.raises(AssertionError, match="no_such_block"):
        behaviour("no_such_block")
    with pytest.raises(AssertionError, match="no_such_network"):
        published("no_such_network")


def test_every_check_is_here():
    checks = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        checks |= set(re.findall(r"^def (check_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert checks <= set(globals()), f"not shown able to fail: {sorted(checks - set(globals()))}"
