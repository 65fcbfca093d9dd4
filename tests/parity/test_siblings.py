"""Sizes of our own of a published network: their parameters, counted by hand, where nobody published a number.

The counts below are written from the design alone. They give the published number for the published size, and so can be
trusted with the others.
"""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import stitchwork
from stitchwork.analysis import count_parameters
from stitchwork.models.efficientformerv2 import VARIANTS

HEADS = 8
PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text("utf-8"))


def conv(dim: int, out_dim: int, side: int = 1, groups: int = 1) -> int:
    """A convolution with its bias, and the scale and shift of a BatchNorm."""
    return side**2 * dim * out_dim // groups + 3 * out_dim


def depthwise(dim: int) -> int:
    """A depthwise 3x3 convolution with its bias, and no BatchNorm."""
    return 10 * dim


def feed_forward(dim: int, ratio: int) -> int:
    """Two pointwise convolutions, a depthwise one between them, and a scale for each channel."""
    hidden = ratio * dim
    return conv(dim, hidden) + conv(hidden, hidden, 3, hidden) + conv(hidden, dim) + dim


def attention(dim: int, side: int, half: bool) -> int:
    """Queries and keys of 32 numbers a head, values of four times as many, and a depthwise 3x3 of them.

    Besides, a bias for each head and each distance in rows and columns, two mixtures of the heads, the projection, and
    a scale for each channel. At half the resolution a depthwise convolution with stride 2 comes first.
    """
    keys, values = HEADS * 32, HEADS * 128
    shrink = conv(dim, dim, 3, dim) if half else 0
    distances = HEADS * (side // 2 if half else side) ** 2
    parts = 2 * conv(dim, keys) + conv(dim, values) + conv(values, values, 3, values) + conv(values, dim)
    return shrink + parts + distances + 2 * (HEADS**2 + HEADS) + dim


def resizing_attention(dim: int, out_dim: int) -> int:
    """Keys of 16 numbers a head; the queries are projected behind a depthwise 3x3; the heads do not talk."""
    keys, values = HEADS * 16, HEADS * 64
    queries = depthwise(dim) + conv(dim, keys)
    return queries + conv(dim, keys) + conv(dim, values) + conv(values, values, 3, values) + conv(values, out_dim)


def evit_unet(dims: tuple[int, ...], ratios: tuple[tuple[int, ...], ...], attending: int) -> int:
    """For one channel and nine classes at 224 pixels."""
    sides = (56, 28, 14, 7)
    first = dims[0]
    total = conv(1, first // 2, 3) + conv(first // 2, first, 3)
    blocks = [
        sum(feed_forward(dim, ratio) for ratio in row)
        + (attending * attention(dim, side, half=stage == 2) if stage > 1 else 0)
        for stage, (dim, row, side) in enumerate(zip(dims, ratios, sides))
    ]
    total += 2 * sum(blocks)  # the decoder has the encoder's
    total += sum(conv(dim, below, 3) + conv(below, dim, 3) for dim, below in pairwise(dims))  # down and up
    # One attention on the way down, with a bias for each distance among 14 x 14 pixels, and two on the way up.
    total += resizing_attention(dims[2], dims[3]) + HEADS * 14**2
    total += resizing_attention(dims[3], dims[2]) + resizing_attention(dims[2], dims[1])
    for dim in dims:
        total += 2 * dim + 2 * (dim**2 + dim) + 18 * dim**2 + dim  # the norm, the cross attention and the 3x3 across
    total += conv(first, first // 2, 3) + conv(first // 2, first, 3)  # twice the size, and again
    return total + 9 * first


SIBLINGS = {f"evit_unet_{size}": evit_unet(*VARIANTS[size]) for size in ("s0", "s1", "s2")}


def test_the_count_by_hand_gives_the_published_number():
    assert evit_unet(*VARIANTS["l"]) == PUBLISHED["evit_unet"]["n_params"]


@pytest.mark.parametrize("name", SIBLINGS)
def test_parameters(name):
    with torch.device("meta"):
        assert count_parameters(stitchwork.create_model(name)) == SIBLINGS[name]


def test_every_sibling_is_counted():
    entries = map(stitchwork.describe, stitchwork.list_models())
    assert {entry.name for entry in entries if entry.references[0].startswith("sibling:")} == SIBLINGS.keys()
