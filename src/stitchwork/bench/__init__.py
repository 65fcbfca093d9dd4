"""Measured, in pairs and in turn: our networks against the libraries', and what is ours against its plain form."""

from stitchwork.bench.blocks import BlockRow, Growth, bench_blocks, claimed_growth
from stitchwork.bench.plain import PlainRow, bench_plain
from stitchwork.bench.speed import DEFAULT, Row, bench_speed, comparable, references

__all__ = [
    "DEFAULT",
    "BlockRow",
    "Growth",
    "PlainRow",
    "Row",
    "bench_blocks",
    "bench_plain",
    "bench_speed",
    "claimed_growth",
    "comparable",
    "references",
]
