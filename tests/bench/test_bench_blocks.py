"""The measurement of the blocks: what it reports, and what it refuses."""

import json

import pytest

import stitchwork
from stitchwork.analysis import count_parameters
from stitchwork.bench import bench_blocks, claimed_growth
from stitchwork.bench.blocks import BlockRow, expected_peak, growth
from stitchwork.bench.libraries import LIBRARIES


def row(side, milliseconds):
    return BlockRow(
        "se", 64, side, 0, 0, "contiguous", milliseconds + 1, milliseconds, 0, None, None, None, None, None, None
    )


def test_rows_and_record(tmp_path):
    seen = []
    rows, growths = bench_blocks(
        ["se", "cbam"], budget=0.01, sides=(4, 8, 16), output=tmp_path / "new" / "record.json", report=seen.append
    )
    assert seen == rows and [(r.block, r.side) for r in rows] == [(b, s) for b in ("se", "cbam") for s in (4, 8, 16)]
    assert all(r.milliseconds > 0 and r.q1 <= r.ratio <= r.q3 for r in rows)
    assert rows[0].parameters == 580 and rows[0].multiply_adds == 512
    assert rows[3].multiply_adds == 4 * 64 * 4 + 2 * 49 * 16
    assert all(r.peak_bytes >= 64 * r.side**2 * 4 for r in rows), "not even the output was counted"
    record = json.loads((tmp_path / "new" / "record.json").read_text())
    assert len(record["rows"]) == 6 and record["conditions"]["sides"] == [4, 8, 16]
    assert all(r.library == "timm" and r.library_ratio > 0 for r in rows[:3])
    assert all(r.library is None and r.library_ratio is None for r in rows[3:])
    assert [g["block"] for g in record["growth"]] == ["se", "cbam"] == [g.block for g in growths]


@pytest.mark.parametrize("exponent", [1, 1.5, 2])
def test_growth_leaves_the_constant_out(exponent):
    rows = [row(side, 5 + 1e-3 * (side**2) ** exponent) for side in (32, 64, 128)]
    assert growth(rows).exponent == pytest.approx(exponent)
    assert growth(rows).claimed == 1


def test_expected_peak():
    assert expected_peak({}, 64) == 0
    assert expected_peak({32: 100, 64: 1600}, 128) == pytest.approx(16 * 1600)  # N^2
    assert expected_peak({32: 100, 64: 400}, 128) == pytest.approx(4 * 400)


@pytest.mark.parametrize("name", stitchwork.list_blocks(layout="image"))
def test_every_block_claims_a_growth(name):
    assert 1 <= claimed_growth(name) <= 2


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_libraries_layer_has_our_parameters(name):
    _, build = LIBRARIES[name]
    assert count_parameters(build(64)) == count_parameters(stitchwork.create_block(name, 64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["resnet18"]}, "'resnet18' is no block for images"),
        ({"names": ["se"], "sides": (32, 64)}, r"each twice the one before; got \(32, 64\)"),
        ({"names": ["se"], "sides": (32, 64, 100)}, r"each twice the one before; got \(32, 64, 100\)"),
        ({"names": ["se"], "budget": 0}, "budget must be greater than 0 seconds; got 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        bench_blocks(**arguments)
