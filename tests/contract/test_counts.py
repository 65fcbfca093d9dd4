"""As many parameters as the published implementation has, for every name.

They are built on the meta device, where a network of any size costs nothing.
"""

import json
from fnmatch import fnmatch
from pathlib import Path

import torch

from .subjects import BLOCKS, MODELS, over

# What is counted as a parameter and never trained, as in the official code: T2T-ViT's random features and sinusoids.
FROZEN = ("tokens_to_token.transforms.*.random", "positions.table")
PUBLISHED = Path(__file__).parents[1] / "parity" / "published.json"


def published(name):
    """The parameter count of the published network."""
    assert PUBLISHED.exists(), f"{PUBLISHED} is missing: it holds the published parameter count of every network"
    networks = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert name in networks, f"add the published parameter count of {name!r} to {PUBLISHED}"
    return networks[name]["n_params"]


def is_sibling(subject):
    """Whether this is a size of our own, of which nobody published a number."""
    return any(reference.startswith("sibling:") for reference in subject.entry.references)


def check_parameter_count(build, expected=None):
    """Exactly ``expected`` parameters, or any number of them, all float32 and trainable."""
    with torch.device("meta"):
        parameters = dict(build().named_parameters())
    count = sum(p.numel() for p in parameters.values())
    assert expected in (None, count), f"{count:,} parameters, published: {expected:,}"
    frozen = [
        name
        for name, p in parameters.items()
        if p.dtype != torch.float32 or not (p.requires_grad or any(fnmatch(name, pattern) for pattern in FROZEN))
    ]
    assert not frozen, f"not trainable, or not float32: {frozen}"


@over([subject for subject in MODELS if not is_sibling(subject)])
def test_parameter_count(subject):
    check_parameter_count(subject.at(*subject.default_size[1:]), published(subject.name))


@over([subject for subject in MODELS if is_sibling(subject)])
def test_parameters_of_siblings(subject):
    check_parameter_count(subject.build)  # their number is that of the closed form in tests/parity/test_siblings.py


@over(BLOCKS)
def test_parameters_of_blocks(subject):
    check_parameter_count(subject.build)  # their number is part of the fingerprint


def test_every_kind_is_there():
    # Guards against a registry that finds nothing, which would pass every parametrised test.
    assert BLOCKS and MODELS
