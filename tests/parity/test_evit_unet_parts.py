"""Every part of EViT-UNet is the function that was recorded from the official code's part of the same purpose."""

import pytest
from torch import nn

from stitchwork.analysis import deviation, fingerprint, images, recorded, same
from stitchwork.layers import ConvNormAct
from stitchwork.models.efficientformerv2 import (
    GELU,
    ConvGELU,
    Downsample,
    DownsamplingAttention,
    EfficientFormerBlock,
    LocalGlobalQuery,
    TalkingAttention,
)
from stitchwork.models.evit_unet import (
    ChannelCrossAttention,
    Grow,
    GrowingQuery,
    Upsample,
    UpsamplingAttention,
)

# The official name of a part, and how ours is built to equal it.
PARTS = {
    "attention4d": lambda: TalkingAttention(64, 7),
    "attention4d_stride2": lambda: TalkingAttention(64, 14, 2),
    "attention4d_downsample": lambda: DownsamplingAttention(64, 96, 14),
    "attention4d_upsample": lambda: UpsamplingAttention(96, 64),
    "lgquery": lambda: LocalGlobalQuery(64, 128),
    "uplgquery": lambda: GrowingQuery(96, 128),
    "mlp": lambda: EfficientFormerBlock(64, 4).mlp,
    "ffn": lambda: EfficientFormerBlock(64, 4),
    "attn_ffn": lambda: EfficientFormerBlock(64, 4, TalkingAttention(64, 7)),
    "attn_ffn_stride2": lambda: EfficientFormerBlock(64, 3, TalkingAttention(64, 14, 2)),
    "stem": lambda: nn.Sequential(ConvGELU(1, 20, 3, 2), ConvGELU(20, 40, 3, 2)),
    "embedding": lambda: Downsample(40, 80),
    "embedding_asub": lambda: Downsample(64, 96, 14),
    "expanding": lambda: Upsample(80, 40),
    "expanding_asub": lambda: Upsample(96, 64, attends=True),
    "cca": lambda: ChannelCrossAttention(64),
    "merge": lambda: nn.Sequential(Grow(40, 20, act=GELU), Grow(20, 40, act=GELU)),
}


def comparison(part: str, module: nn.Module) -> tuple[dict, dict]:
    """The fingerprint of ours and the recorded one; a second input is the images 11 and 12."""
    record = recorded(f"evit_unet/{part}")["canonical"]
    inputs = [images(*shape[1:], first=first) for shape, first in zip(record["in"], (1, 11))]
    return fingerprint(module, *inputs), record


@pytest.mark.parametrize("part", PARTS, ids="evit_unet/{}".format)
def test_part(part):
    ours, record = comparison(part, PARTS[part]())
    assert ours["n_params"] == record["n_params"]
    assert same(ours, record), f"deviation {deviation(ours, record):.1e} from {record['source']}"


class WithoutTalk(TalkingAttention):
    """Each head for itself behind the softmax."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.talk2 = nn.Identity()


WRONG = {
    "heads that do not talk": ("attention4d", lambda: WithoutTalk(64, 7)),
    "attention at the full resolution": ("attention4d_stride2", lambda: TalkingAttention(64, 7)),
    "no attention beside the convolution": ("expanding_asub", lambda: Upsample(96, 64)),
    "ReLU in the place of GELU": (
        "stem",
        lambda: nn.Sequential(ConvNormAct(1, 20, 3, 2, bias=True), ConvNormAct(20, 40, 3, 2, bias=True)),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_part_is_noticed(case):
    part, build = WRONG[case]
    ours, record = comparison(part, build())
    assert not same(ours, record, tol=1e-3)
