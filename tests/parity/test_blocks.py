"""Every block is the function that was recorded from its published implementation; popular wrong ones are not."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import stitchwork
from stitchwork.analysis import deviation, fingerprint, images, recorded, same

RECORDED = [
    (name, reference.split(":")[1])
    for name in [*stitchwork.list_blocks(), *stitchwork.list_models()]
    for reference in stitchwork.describe(name).references
    if reference.startswith("recorded:")
]


def own_fingerprint(block: nn.Module, record: dict) -> dict:
    (shape,) = record["in"]
    return fingerprint(block, images(*shape[1:]))


@pytest.mark.parametrize(("name", "key"), RECORDED)
def test_recorded_fingerprint(name, key):
    record = recorded(key)["canonical"]
    if stitchwork.describe(name).kind == "block":
        module = stitchwork.create_block(name, record["in"][0][1])
    else:
        module = stitchwork.create_model(name)
    ours = own_fingerprint(module, record)
    assert ours["n_params"] == record["n_params"]
    assert same(ours, record), f"deviation {deviation(ours, record):.1e} from {record['source']}"


def test_every_block_has_a_reference_that_is_tested():
    tested = {name for name, _ in RECORDED}
    assert set(stitchwork.list_blocks()) <= tested


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


class CopiedCBAM(nn.Module):
    """CBAM as it goes round: no biases, the planes the other way round, no BatchNorm."""

    def __init__(self, dim: int = 64, hidden: int = 4):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, dim, 1, bias=False)
        )
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        mean, peak = F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)
        x = x * torch.sigmoid(self.mlp(mean) + self.mlp(peak))
        planes = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        return x * torch.sigmoid(self.conv(planes))


def copied_separable(dim: int = 64) -> nn.Module:
    """Depthwise separable convolution as it goes round: biases that BatchNorm takes away again, leaky ReLU."""

    def step(*arguments, **keywords):
        return nn.Sequential(nn.Conv2d(dim, dim, *arguments, **keywords), nn.BatchNorm2d(dim), nn.LeakyReLU(0.1))

    return nn.Sequential(step(3, padding=1, groups=dim), step(1))


COPIES = {
    ("se", "without_bias"): lambda: stitchwork.create_block("se", 64, bias=False),
    ("cbam", "without_bias_and_norm"): CopiedCBAM,
    ("depthwise_separable_conv", "with_bias_and_leaky_relu"): copied_separable,
}


@pytest.mark.parametrize(("name", "label"), COPIES)
def test_popular_copies_are_what_was_recorded_and_another_function(name, label):
    record = recorded(name)
    copied = own_fingerprint(COPIES[name, label](), record["canonical"])
    assert same(copied, record["also"][label])
    assert copied["n_params"] == record["also"][label]["n_params"]
    assert not same(copied, record["canonical"], tol=1e-2)


def test_every_recorded_copy_is_built():
    labels = {(name, label) for name in stitchwork.list_blocks() for label in recorded(name)["also"]}
    assert labels == set(COPIES)


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
