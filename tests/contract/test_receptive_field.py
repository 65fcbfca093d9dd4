"""Which input pixels reach an output pixel, and whether a module knows where a pixel is.

Both are facts of the published modules, measured on their official code at 64 channels and 14 x 14 pixels. They need no
reference implementation at hand, and see what shapes do not: a module that does not mix what it should, or looks where
it should not.
"""

import torch

from stitchwork.analysis import gradient_support

from .probes import assert_same, awaken, exact, noise
from .subjects import BLOCKS, over

# name: pixels of 14 x 14 that reach the centre, the rows and columns they span, and whether a permutation of the input
# pixels permutes the output likewise (a module that does not know where a pixel is).
PUBLISHED = {
    "acmix": (49, (7, 7), False),
    "aft_full": (196, (14, 14), False),
    "aft_local": (196, (14, 14), False),
    "aft_simple": (196, (14, 14), True),
    "aspp": (196, (14, 14), False),
    "axial_attention": (27, (14, 14), False),
    # Each image has its own partners: 16 pixels routed to and 9 around, and four images here.
    "bi_level_routing": (65, (11, 14), False),
    "cbam": (196, (14, 14), False),
    "clo_attention": (196, (14, 14), False),
    "context_module": (196, (14, 14), False),
    "coord_attention": (27, (14, 14), False),
    "cot": (196, (14, 14), False),
    "criss_cross": (27, (14, 14), False),
    "crossformer_attention": (49, (7, 7), False),
    "danet": (196, (14, 14), False),
    "danet_channel": (196, (14, 14), True),
    "danet_position": (196, (14, 14), True),
    # Taps that move: which pixels they meet depends on the weights, here those of this test and four images.
    "deformable_conv": (23, (5, 5), False),
    "deformable_conv_v1": (23, (5, 5), False),
    "deformable_conv_v3": (25, (5, 5), False),
    "depthwise_separable_conv": (9, (3, 3), False),
    "dilated_conv": (9, (3, 3), False),
    "double_attention": (196, (14, 14), True),
    "eca": (196, (14, 14), True),
    "efficient_additive_attention": (196, (14, 14), True),
    "ema": (196, (14, 14), False),
    "emsa": (196, (14, 14), False),
    "external_attention": (196, (14, 14), True),
    "fca": (196, (14, 14), False),
    "gam": (169, (13, 13), False),
    "halo_attention": (100, (10, 10), False),
    "irmb": (196, (14, 14), False),
    "msda": (25, (7, 7), False),
    "multi_head_external_attention": (196, (14, 14), True),
    "parnet": (196, (14, 14), False),
    "partial_conv": (9, (3, 3), False),
    "psa": (196, (14, 14), False),
    "s2_attention": (196, (14, 14), False),
    # A maximum passes the gradient to one pixel: with these inputs 185 are the maximum of a window in some channel.
    "safm": (185, (14, 14), False),
    "scconv": (196, (14, 14), False),
    "se": (196, (14, 14), True),
    "sea_attention": (196, (14, 14), False),
    "selective_kernel": (196, (14, 14), False),
    "shuffle_attention": (196, (14, 14), True),
    "simam": (196, (14, 14), True),
    "snake_conv": (196, (14, 14), False),
    "split_attention": (196, (14, 14), False),
    "super_token": (196, (14, 14), False),
    "triplet_attention": (147, (14, 14), False),
    "ufo_attention": (196, (14, 14), True),
    "weighted_permute_mlp": (196, (14, 14), False),
}


def behaviour(name):
    assert name in PUBLISHED, f"add to PUBLISHED what the official code of {name!r} shows"
    return PUBLISHED[name]


def check_gradient_support(build, channels, pixels, extent):
    """Exactly ``pixels`` input pixels, spanning ``extent`` rows and columns, reach the centre output pixel."""
    support = gradient_support(awaken(build()), (1, channels, 14, 14))
    spanned = (int(support.any(1).sum()), int(support.any(0).sum()))
    assert int(support.sum()) == pixels, f"{int(support.sum())} pixels reach the centre, published: {pixels}"
    assert spanned == tuple(extent), f"they span {spanned} rows and columns, published: {extent}"


def check_permutation(build, shape, equivariant):
    """Permuting the pixels permutes the output (``equivariant``), or does not."""
    module, x = exact(build), noise(shape, dtype=torch.float64)
    order = torch.randperm(shape[2] * shape[3], generator=torch.Generator().manual_seed(0))

    def permute(image):
        return image.flatten(2)[..., order].reshape(image.shape)

    with torch.no_grad():
        of_permuted, permuted = module(permute(x)), permute(module(x))
    if equivariant:
        assert_same(of_permuted, permuted, "output of the permuted pixels, against the permuted output")
    else:
        deviation = ((of_permuted - permuted).norm() / permuted.norm()).item()
        assert deviation > 1e-3, "permuting the pixels permutes the output: the module does not look at positions"


@over(BLOCKS)
def test_gradient_support(subject):
    pixels, extent, _ = behaviour(subject.name)
    check_gradient_support(subject.at(14, 14), subject.dim, pixels, extent)


@over(BLOCKS)
def test_permutation(subject):
    check_permutation(subject.at(14, 14), (2, subject.dim, 14, 14), behaviour(subject.name)[2])
