"""As many parameters as the published implementation has, for every name.

They are built on the meta device, where a network of any size costs nothing.
"""

import json
from pathlib import Path

import torch

from stitchwork.analysis import recorded

from .subjects import BLOCKS, EVERY, MODELS, over

PUBLISHED = Path(__file__).parents[1] / "parity" / "published.json"


def published(name):
    """The parameter count of the published implementation."""
    assert PUBLISHED.exists(), f"{PUBLISHED} is missing: it holds the published parameter count of every network"
    networks = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    if name in networks:
        return networks[name]["n_params"]
    try:
        return recorded(name)["canonical"]["n_params"]
    except ValueError as error:
        raise AssertionError(f"add the published parameter count of {name!r} to {PUBLISHED}: {error}") from error


def check_parameter_count(build, expected):
    """Exactly ``expected`` parameters, all of them float32 and trainable."""
    with torch.device("meta"):
        parameters = dict(build().named_parameters())
    count = sum(p.numel() for p in parameters.values())
    assert count == expected, f"{count:,} parameters, published: {expected:,}"
    frozen = [name for name, p in parameters.items() if not p.requires_grad or p.dtype != torch.float32]
    assert not frozen, f"not trainable, or not float32: {frozen}"


@over(EVERY)
def test_parameter_count(subject):
    check_parameter_count(subject.build, published(subject.name))


def test_every_kind_is_there():
    # Guards against a registry that finds nothing, which would pass every parametrised test.
    assert BLOCKS and MODELS
