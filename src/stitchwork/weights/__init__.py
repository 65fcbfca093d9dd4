"""Published weights into our networks, and our own to and from safetensors files."""

from stitchwork.weights.loading import (
    SOURCES,
    arguments_for,
    load_published,
    load_safetensors,
    load_state_dict_from,
    load_weights,
    rename,
    save_safetensors,
    trained_network,
)
from stitchwork.weights.mirrored import Mirrored, load_mirrored

__all__ = [
    "SOURCES",
    "Mirrored",
    "arguments_for",
    "load_mirrored",
    "load_published",
    "load_safetensors",
    "load_state_dict_from",
    "load_weights",
    "rename",
    "save_safetensors",
    "trained_network",
]
