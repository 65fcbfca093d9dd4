"""Recorded configurations other than the default: how ours is built to equal them."""

from stitchwork import create_block

VARIANTS = {
    ("se", "without_bias"): lambda: create_block("se", 64, bias=False),
}
# (name, label): why a recorded popular version is neither a configuration of ours nor an erratum.
NOT_REBUILT: dict[tuple[str, str], str] = {}
