"""The drawings of the book, in one house style."""

from stitchwork.figures.association import draw_association
from stitchwork.figures.attention import (
    draw_channel_gates,
    draw_images,
    draw_row_and_column_gates,
    draw_summaries,
)
from stitchwork.figures.branches import draw_wirings
from stitchwork.figures.channel_gates import draw_frequencies, draw_gate_wiring, draw_matrices
from stitchwork.figures.convolution import (
    draw_bottlenecks,
    draw_costs,
    draw_curves,
    draw_intervals,
    draw_kernel_positions,
    draw_kernels,
    draw_responses,
    draw_roofline,
    draw_spirals,
    draw_support,
    draw_what_one_output_reads,
)
from stitchwork.figures.mirror import draw_mirror
from stitchwork.figures.panels import draw_line_panels
from stitchwork.figures.partners import draw_partners, draw_scores
from stitchwork.figures.patches import draw_patches
from stitchwork.figures.places import draw_places
from stitchwork.figures.planes import draw_planes
from stitchwork.figures.pyramids import draw_cells, draw_errors_by_size
from stitchwork.figures.sampling import draw_paper_against_clock, draw_sampling_points
from stitchwork.figures.scaling import draw_scaled_networks, draw_shares
from stitchwork.figures.skips import draw_skips
from stitchwork.figures.style import INK, PALETTE, use_house_style
from stitchwork.figures.tokens import draw_moves, draw_stages, draw_statistics
from stitchwork.figures.unfolding import draw_unfolding
from stitchwork.figures.windows import draw_curve_panels, draw_offsets, draw_pairs, draw_regions

__all__ = [
    "INK",
    "PALETTE",
    "draw_association",
    "draw_bottlenecks",
    "draw_cells",
    "draw_channel_gates",
    "draw_costs",
    "draw_curve_panels",
    "draw_curves",
    "draw_errors_by_size",
    "draw_frequencies",
    "draw_gate_wiring",
    "draw_images",
    "draw_intervals",
    "draw_kernel_positions",
    "draw_kernels",
    "draw_line_panels",
    "draw_matrices",
    "draw_mirror",
    "draw_moves",
    "draw_offsets",
    "draw_pairs",
    "draw_paper_against_clock",
    "draw_partners",
    "draw_patches",
    "draw_places",
    "draw_planes",
    "draw_regions",
    "draw_responses",
    "draw_roofline",
    "draw_row_and_column_gates",
    "draw_sampling_points",
    "draw_scaled_networks",
    "draw_scores",
    "draw_shares",
    "draw_skips",
    "draw_spirals",
    "draw_stages",
    "draw_statistics",
    "draw_summaries",
    "draw_support",
    "draw_unfolding",
    "draw_what_one_output_reads",
    "draw_wirings",
    "use_house_style",
]
