"""Every block is the function that was recorded from its published implementation; popular wrong ones are not."""

import pytest
import torch
from torch import nn

import stitchwork
from stitchwork.analysis import deviation, fingerprint, images, recorded, same, tokens
from stitchwork.errata import errata
from stitchwork.transcriptions import transcriptions

from .variants import NOT_REBUILT, VARIANTS

NAMES = [*stitchwork.list_blocks(), *stitchwork.list_models()]
RECORDED = [
    (name, reference.split(":")[1])
    for name in NAMES
    for reference in stitchwork.describe(name).references
    if reference.startswith("recorded:")
]
NOTHING = {"out": [], "rms": 1.0, "proj": [0.0] * 32}
DEFECTIVE = {(e.block, e.recorded): e.wrong for e in errata().values() if e.recorded}


def own_fingerprint(module: nn.Module, record: dict) -> dict:
    (shape,) = record["in"]
    return fingerprint(module, images(*shape[1:]) if len(shape) == 4 else tokens(*shape[1:]))


def built_like(name: str, record: dict) -> nn.Module:
    """The registered module for the channels, and if it must know it the image size, of a recorded input."""
    entry, (shape,) = stitchwork.describe(name), record["in"]
    if entry.kind == "model":
        return stitchwork.create_model(name)
    dim = shape[-1] if entry.layout == "sequence" else shape[1]
    return stitchwork.create_block(name, dim, **({"size": tuple(shape[2:])} if entry.needs_size else {}))


@pytest.mark.parametrize(("name", "key"), RECORDED)
def test_recorded_fingerprint(name, key):
    base, _, label = key.partition(".")
    record = recorded(base)["also"][label] if label else recorded(base)["canonical"]
    module = VARIANTS[base, label]() if (base, label) in VARIANTS else built_like(name, record)
    ours = own_fingerprint(module, record)
    assert ours["n_params"] == record["n_params"]
    assert same(ours, record), f"deviation {deviation(ours, record):.1e} from {record['source']}"


def test_every_block_has_a_reference_that_is_tested():
    tested = {name for name, _ in RECORDED}
    for name in stitchwork.list_blocks():
        by_transcription = f"transcription:{name}" in stitchwork.describe(name).references
        assert name in tested or (by_transcription and name in transcriptions()), name


def difference_from_timms_se(ours: nn.Module) -> float:
    from timm.layers import SEModule

    torch.manual_seed(0)
    theirs = SEModule(64, rd_channels=4)
    for layer in (theirs.fc1, theirs.fc2):
        nn.init.normal_(layer.bias)
    names = {"fc1.": "squeeze.", "fc2.": "excite."}
    ours.load_state_dict({names[key[:4]] + key[4:]: tensor for key, tensor in theirs.state_dict().items()})
    x = torch.randn(3, 64, 13, 9)
    return (ours(x) - theirs(x)).abs().max().item()


def test_squeeze_excitation_equals_timms():
    assert difference_from_timms_se(stitchwork.create_block("se", 64)) < 1e-6


def test_squeeze_excitation_without_relu_is_seen_by_timm_alone():
    """Filled by the fingerprint's rule, all four hidden units are positive for both images, so this ReLU is unseen."""
    wrong, record = replaced("se", "act", nn.Identity()), recorded("se")["canonical"]
    assert same(own_fingerprint(wrong, record), record)
    assert difference_from_timms_se(wrong) > 1e-2


@pytest.mark.parametrize(("name", "label"), VARIANTS)
def test_other_published_configurations(name, label):
    """What another implementation does on purpose, ours does too when asked."""
    record = recorded(name)["also"][label]
    ours = own_fingerprint(VARIANTS[name, label](), record)
    assert ours["n_params"] == record["n_params"]
    assert same(ours, record), f"deviation {deviation(ours, record):.1e} from {record['source']}"


@pytest.mark.parametrize(("name", "label"), DEFECTIVE)
def test_popular_copies_are_what_was_recorded_and_another_function(name, label):
    record = recorded(name)["also"][label]
    copied = own_fingerprint(DEFECTIVE[name, label](), record)
    assert copied["n_params"] == record["n_params"]
    assert same(copied, record), f"deviation {deviation(copied, record):.1e} from {record['source']}"
    assert not same(copied, recorded(name).get("canonical", NOTHING), tol=1e-2)


def test_every_recorded_configuration_is_built():
    known = {key.partition(".")[0] for _, key in RECORDED}
    labels = {(name, label) for name in known for label in recorded(name)["also"]}
    assert labels == set(VARIANTS) | set(DEFECTIVE) | NOT_REBUILT.keys()


def replaced(name: str, path: str, part: nn.Module) -> nn.Module:
    block = stitchwork.create_block(name, 64)
    block.set_submodule(path, part)
    return block


class SwappedCoordAttention(nn.Module):
    """Coordinate attention that gives the rows' gate to the columns and the columns' to the rows."""

    def __init__(self):
        super().__init__()
        self.block = stitchwork.create_block("coord_attention", 64)

    def forward(self, x):
        return x * (self.block(x) / x).transpose(2, 3)


WRONG = {
    "se without sigmoid": ("se", lambda: replaced("se", "gate", nn.Identity())),
    "se with hard sigmoid": ("se", lambda: replaced("se", "gate", nn.Hardsigmoid())),
    "se with another reduction": ("se", lambda: stitchwork.create_block("se", 64, reduction=8)),
    "cbam without norm": ("cbam", lambda: replaced("cbam", "spatial.norm", nn.Identity())),
    "cbam with a smaller kernel": ("cbam", lambda: stitchwork.create_block("cbam", 64, kernel_size=3)),
    "cbam, spatial first": (
        "cbam",
        lambda: nn.Sequential((block := stitchwork.create_block("cbam", 64)).spatial, block.channel),
    ),
    "coord attention with relu": (
        "coord_attention",
        lambda: replaced("coord_attention", "mix.2", nn.ReLU()),
    ),
    "coord attention without norm": ("coord_attention", lambda: replaced("coord_attention", "mix.1", nn.Identity())),
    "coord attention without sigmoid": (
        "coord_attention",
        lambda: replaced("coord_attention", "gate_w", nn.Identity()),
    ),
    "coord attention, axes swapped": ("coord_attention", SwappedCoordAttention),
    "separable without the middle activation": (
        "depthwise_separable_conv",
        lambda: replaced("depthwise_separable_conv", "depthwise.act", nn.Identity()),
    ),
    "separable, stride on the depthwise": (
        "depthwise_separable_conv",
        lambda: stitchwork.create_block("depthwise_separable_conv", 64, stride=2),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_fingerprint_sees_what_is_wrong(case):
    name, build = WRONG[case]
    record = recorded(name)["canonical"]
    assert not same(own_fingerprint(build(), record), record, tol=1e-3)
