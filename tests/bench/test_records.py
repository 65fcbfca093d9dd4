"""The record that the page of the blocks' cost is made from: complete, and as the documentation claims."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

import stitchwork
from stitchwork.bench.blocks import claimed_growth

RECORD = Path(__file__).resolve().parents[2] / "book" / "data" / "bench_blocks.json"
BLOCKS = stitchwork.list_blocks(layout="image")

# Few multiplications for each number that is read: from 64 to 128 pixels a map grows from 1 to 4 MB and leaves the
# cache of a core, which adds up to half an exponent, in some runs and not in others. The page of the record says so.
LEAVES_THE_CACHE = {
    "cbam",
    "coord_attention",
    "external_attention",
    "s2_attention",
    "shuffle_attention",
    "simam",
    "ufo_attention",
}
# Both sides call the same kernels on the same numbers; the luck of memory placement decides.
SAME_OPERATIONS = {
    "aft_simple",
    "coord_attention",
    "danet_channel",
    "eca",
    "efficient_additive_attention",
    "fca",
    "gam",
    "parnet",
    "s2_attention",
    "scconv",
    "se",
    "sea_attention",
    "simam",
}
# Why a plain form needs less memory.
LESS_MEMORY_THAN_OURS = {
    "crossformer_attention": "the plain form takes one group after the other, and is nine times slower",
    "partial_conv": "the plain form is one dense convolution; ours joins two groups of channels",
}


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def rows_of(record, name):
    return [row for row in record["rows"] if row["block"] == name]


def test_the_record_has_every_block_at_every_size(record):
    sides = record["conditions"]["sides"]
    assert [(row["block"], row["side"]) for row in record["rows"]] == [(b, s) for b in BLOCKS for s in sides]
    assert all(large == 2 * small for small, large in pairwise(sides))


@pytest.mark.parametrize("name", BLOCKS)
def test_time_grows_as_documented(record, name):
    (growth,) = (growth for growth in record["growth"] if growth["block"] == name)
    assert growth["claimed"] == claimed_growth(name)
    more = 0.55 if name in LEAVES_THE_CACHE else 0.25
    assert growth["claimed"] - 0.25 <= growth["exponent"] <= growth["claimed"] + more


@pytest.mark.parametrize("name", BLOCKS)
def test_ours_is_not_slower_than_the_plain_form(record, name):
    compared = [row for row in rows_of(record, name) if row["ratio"] is not None]
    least = 0.9 if name in SAME_OPERATIONS else 1.0
    assert compared and compared[-1]["ratio"] >= least, [row["ratio"] for row in compared]


@pytest.mark.parametrize("name", BLOCKS)
def test_ours_needs_no_more_memory_than_the_plain_form(record, name):
    if name in LESS_MEMORY_THAN_OURS:
        pytest.skip(LESS_MEMORY_THAN_OURS[name])
    for row in rows_of(record, name):
        assert row["plain_peak_bytes"] is None or row["peak_bytes"] <= 1.03 * row["plain_peak_bytes"], row
