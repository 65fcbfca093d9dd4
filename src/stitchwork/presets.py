"""How much work a chapter does: seconds in a test, a minute or two on a laptop, minutes on a GPU."""

import os

import torch

PRESETS = ("smoke", "cpu", "gpu")


def default_preset() -> str:
    """The preset of this run: the variable ``STITCHWORK_PRESET``, or else what the hardware allows.

    Returns:
        ``"smoke"`` (a test: seconds on two CPU cores), ``"cpu"`` (a minute or two on a laptop) or ``"gpu"``
        (minutes on one GPU).

    Raises:
        ValueError: ``STITCHWORK_PRESET`` is none of the three.
    """
    preset = os.environ.get("STITCHWORK_PRESET") or ("gpu" if torch.cuda.is_available() else "cpu")
    if preset not in PRESETS:
        raise ValueError(f"STITCHWORK_PRESET is {preset!r}; set it to one of {', '.join(PRESETS)}, or unset it")
    return preset
