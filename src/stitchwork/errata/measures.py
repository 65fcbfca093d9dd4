"""Numbers that show a defect: each function takes a module and gives 0, or nearly so, if it is sound."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from stitchwork.analysis import deviation, fingerprint, images, recorded


def distance_from_published(name: str) -> Callable[[nn.Module], float]:
    """How far a module's function is from the published implementation of block ``name``, by their fingerprints."""

    def measure(module: nn.Module) -> float:
        record = recorded(name)["canonical"]
        (shape,) = record["in"]
        return deviation(fingerprint(module, images(*shape[1:])), record)

    return measure


@torch.no_grad()
def leak_between_images(module: nn.Module, shape: tuple[int, int, int] = (64, 14, 14), changed: int = 1) -> float:
    """How much the output for one of two images changes, relative to its size, when the other, ``changed``, does."""
    x = noise(2, *shape)
    other = x.clone()
    other[changed] = noise(1, *shape, seed=1)[0]
    module = module.double().eval()
    before, after = module(x.clone())[1 - changed], module(other)[1 - changed]
    return ((after - before).norm() / before.norm()).item()


@torch.no_grad()
def damage_to_the_input(module: nn.Module, shape: tuple[int, int, int] = (64, 14, 14)) -> float:
    """The share of the input's numbers that the module overwrites."""
    x = noise(2, *shape)
    given = x.clone()
    module.double().eval()(given)
    return (given != x).double().mean().item()


@torch.no_grad()
def not_finite_at_one_pixel(module: nn.Module, channels: int = 64) -> float:
    """The share of the output that is not finite where the image is a single pixel; infinity if that fails."""
    try:
        y = module.double().eval()(noise(2, channels, 1, 1))
    except (RuntimeError, ZeroDivisionError):
        return math.inf
    return (~y.isfinite()).double().mean().item()


def failure_at(*shape: int, dtype: torch.dtype = torch.float32) -> Callable[[nn.Module], float]:
    """Gives infinity if the module fails on an input of this shape and type, or changes its shape; else 0."""

    @torch.no_grad()
    def measure(module: nn.Module) -> float:
        x = noise(*shape).to(dtype)
        try:
            y = module.to(dtype).eval()(x)
        except RuntimeError:
            return math.inf
        return 0.0 if y.shape == x.shape else math.inf

    return measure


def tensors_left_behind(module: nn.Module) -> float:
    """How many tensors of a module stay where they are when it moves to another device."""
    module = module.to("meta")
    return sum(
        isinstance(value, Tensor) and not value.is_meta for part in module.modules() for value in vars(part).values()
    )


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, float64, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
