"""Measured, in pairs and in turn: our networks against the libraries', and what is ours against its plain form."""

from stitchwork.bench.blocks import BlockRow, Growth, bench_blocks, claimed_growth
from stitchwork.bench.speed import DEFAULT, Row, bench_speed, comparable, references

__all__ = [
    "DEFAULT",
    "BlockRow",
    "Growth",
    "Row",
    "bench_blocks",
    "bench_speed",
    "claimed_growth",
    "comparable",
    "references",
]
