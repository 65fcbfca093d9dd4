"""The drawings of the book, in one house style."""

from stitchwork.figures.style import INK, PALETTE, use_house_style

__all__ = ["INK", "PALETTE", "use_house_style"]
