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
)

__all__ = [
    "SOURCES",
    "arguments_for",
    "load_published",
    "load_safetensors",
    "load_state_dict_from",
    "load_weights",
    "rename",
    "save_safetensors",
]
