"""The measurement of a network against its plain form: what it reports, and what it refuses."""

import pytest

from stitchwork.bench import bench_plain


def test_a_row_for_each_batch():
    rows = bench_plain("evit_unet_s0", batches=(1, 2), side=32, budget=0.01)
    assert [(row.network, row.batch, row.side) for row in rows] == [("evit_unet_s0", batch, 32) for batch in (1, 2)]
    for row in rows:
        assert row.milliseconds > 0 < row.plain_milliseconds and row.q1 <= row.ratio <= row.q3
        assert min(row.peak_bytes, row.plain_peak_bytes) >= row.batch * 9 * 32**2 * 4, (
            "not even the logits were counted"
        )


def test_refusals():
    with pytest.raises(ValueError, match="no transcription of 'resnet18'"):
        bench_plain("resnet18")
    with pytest.raises(ValueError, match="budget must be greater than 0 seconds; got 0"):
        bench_plain("evit_unet_s0", budget=0)
