"""The name-blind fingerprint: is this the same function as the published one, whatever its layers are called?

Two implementations of one architecture rarely share parameter names, and seldom can one be installed beside the
other. So every parameter gets values that follow from its shape alone, two fixed images go in, and 32 numbers of what
comes out are compared with those recorded from the official code.

1. A parameter's size-1 axes are dropped. The other axes, joined by ``x``, are hashed (sha256); the first 8 hex digits
   seed a standard normal n in float64. A parameter with at most one axis left becomes 0.4 + 0.1 n, any other n divided
   by the square root of the product of its axes but the first.
2. Evaluation mode, float64. Every BatchNorm takes its running mean and variance on the fly from the input it sees
   (variance + 0.1 · its mean over the channels + 1e-6), so that no signal dies and none drowns in the biases.
3. The input is a batch of two smooth images.
4. The output for the first minus that for the second is brought to unit root mean square and projected on 32 fixed
   vectors of signs.

It sees a wrong stride, padding, activation, mask, head count, pooling order or BatchNorm eps. It does not see
initialisation, dropout, or in which of two equal shapes a parameter sits; and it takes a fused and a split projection
for different modules.
"""

import copy
import difflib
import hashlib
import json
import math
from functools import cache
from importlib import resources

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stitchwork.analysis.evaluation import first_tensor

PROJECTIONS = 32


@torch.no_grad()
def fill(module: nn.Module) -> nn.Module:
    """Overwrite every parameter, in place, with values that follow from its shape (step 1); returns the module."""
    for parameter in module.parameters():
        axes = [size for size in parameter.shape if size != 1]
        digest = hashlib.sha256("x".join(map(str, axes)).encode()).hexdigest()
        generator = torch.Generator().manual_seed(int(digest[:8], 16))
        noise = torch.randn(axes or [1], generator=generator, dtype=torch.float64)
        values = 0.4 + 0.1 * noise if len(axes) < 2 else noise / math.sqrt(math.prod(axes[1:]))
        parameter.copy_(values.reshape(parameter.shape))
    return module


def images(channels: int, height: int, width: int, first: int = 1) -> Tensor:
    """The two test images as a batch: float64 (2, channels, height, width).

    Args:
        channels: of an image.
        height: in pixels.
        width: in pixels.
        first: number of the first of the two; where a module takes a second batch, its images are 11 and 12.
    """
    return torch.stack([_waves(977 + number, channels, height, width) for number in (first, first + 1)])


def tokens(count: int, channels: int) -> Tensor:
    """Two test sequences as a batch: float64 (2, count, channels)."""
    return torch.cat([_waves(980, 1, count, channels), _waves(981, 1, count, channels)])


def _waves(seed: int, channels: int, height: int, width: int) -> Tensor:
    """Eight plane waves a channel, of up to six periods, and noise: float64 (channels, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(channels, 8, 4, generator=generator, dtype=torch.float64)
    frequency_y, frequency_x, phase, amplitude = draws[..., None, None].unbind(2)  # (channels, 8, 1, 1) each
    y = torch.linspace(0, 1, height, dtype=torch.float64)[:, None]
    x = torch.linspace(0, 1, width, dtype=torch.float64)
    turns = (12 * frequency_y - 6) * y + (12 * frequency_x - 6) * x + phase  # (channels, 8, height, width)
    waves = ((0.5 + amplitude) * torch.sin(2 * math.pi * turns)).sum(1)  # (channels, height, width)
    return waves + 0.3 * torch.randn(channels, height, width, generator=generator, dtype=torch.float64)


@torch.no_grad()
def fingerprint(module: nn.Module, *inputs: Tensor, dtype: torch.dtype = torch.float64) -> dict:
    """Fingerprint of what a module does with its inputs; the module itself is left as it was.

    Args:
        module: works on a batch of 2; of several outputs the first tensor counts.
        *inputs: what goes in, of batch 2: :func:`images` or :func:`tokens`.
        dtype: in which it runs. float32 only for code that cannot do better.

    Returns:
        ``n_params``, the shapes ``in`` and ``out``, ``dtype``, the ``rms`` of the difference of the two outputs, and
        its 32 projections ``proj``: all ready for JSON.

    Raises:
        ValueError: no inputs, or a batch that is not 2 on either side.
    """
    if not inputs or any(x.shape[0] != 2 for x in inputs):
        raise ValueError(
            f"fingerprint takes inputs of batch 2, as from images(); got {[tuple(x.shape) for x in inputs]}"
        )
    # The recorded values went through float32 parameters, so these do too.
    module = fill(copy.deepcopy(module).float()).to(dtype).eval()
    for part in module.modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None:
            part.register_forward_pre_hook(_take_statistics)
    output = first_tensor(module(*[x.to(dtype) if x.is_floating_point() else x for x in inputs])).double()
    if output.shape[0] != 2:
        raise ValueError(f"fingerprint needs an output of batch 2; got shape {tuple(output.shape)}")
    difference = (output[0] - output[1]).flatten()
    rms = difference.square().mean().sqrt().item()
    return {
        "n_params": sum(p.numel() for p in module.parameters()),
        "in": [list(x.shape) for x in inputs],
        "out": list(output.shape),
        "dtype": str(dtype).removeprefix("torch."),
        "rms": rms,
        "proj": _project(difference / (max(rms, 1e-300) * math.sqrt(difference.numel()))),
    }


def _take_statistics(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
    (x,) = inputs
    variance, mean = torch.var_mean(x, [axis for axis in range(x.dim()) if axis != 1], correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance + 0.1 * variance.mean() + 1e-6)


def _project(vector: Tensor) -> list[float]:
    """Sum of the vector (N,) under each of 32 fixed patterns of signs."""
    generator = torch.Generator().manual_seed(7)
    signs = (torch.randint(0, 2, vector.shape, generator=generator).double() * 2 - 1 for _ in range(PROJECTIONS))
    return [(vector * sign).sum().item() for sign in signs]


def deviation(ours: dict, theirs: dict) -> float:
    """How far two fingerprints are apart: the larger of the relative errors of projections and of rms.

    Infinite if the outputs differ in shape or a number is not finite.
    """
    numbers = torch.tensor([[f["rms"], *f["proj"]] for f in (ours, theirs)], dtype=torch.float64)  # (2, 33)
    if ours["out"] != theirs["out"] or not numbers.isfinite().all():
        return math.inf
    projections = (numbers[0, 1:] - numbers[1, 1:]).abs().max() / numbers[1, 1:].abs().max()
    rms = (numbers[0, 0] / numbers[1, 0] - 1).abs()
    worst = torch.stack([projections, rms]).max().item()
    return math.inf if math.isnan(worst) else worst


def same(ours: dict, theirs: dict, tol: float | None = None) -> bool:
    """Whether two fingerprints are of the same function.

    Args:
        ours: a fingerprint.
        theirs: the one to compare it with.
        tol: the :func:`deviation` that is forgiven. Without it 1e-5; 1e-3 if ``theirs`` has an rms under 1e-3 (little
            of the input survives, and rounding shows); 2e-3 if it was made in float32.
    """
    if tol is None:
        tol = 2e-3 if theirs["dtype"] == "float32" else 1e-3 if theirs["rms"] < 1e-3 else 1e-5
    return deviation(ours, theirs) < tol


def recorded(name: str) -> dict:
    """What published implementations of a block or network gave.

    Args:
        name: the registered name, such as ``"cbam"``.

    Returns:
        ``{"canonical": record, "also": {label: record, ...}}``: the implementation that our default equals, and others
        in use that differ. A record is a fingerprint with ``source`` (where the code is from), ``config`` (how it was
        built) and ``note``. The module was built for the channels of ``in``, and saw ``images`` of that shape.

    Raises:
        ValueError: nothing is recorded under this name; the message has the nearest names.
    """
    records = _records()
    if name not in records:
        near = difflib.get_close_matches(name, records, n=3) or sorted(records)
        raise ValueError(f"no fingerprint is recorded for {name!r}; there are {', '.join(near)}")
    return copy.deepcopy(records[name])


@cache
def _records() -> dict:
    return json.loads(resources.files("stitchwork.analysis").joinpath("fingerprints.json").read_text("utf-8"))
