"""What the tasks are drawn with."""

import torch
from torch import Tensor


def start(task: str, n: int, size: int, seed: int, device, least: int = 1, **more: int) -> torch.Generator:
    """The random generator of a task, once its arguments are known to make sense."""
    for name, value, low in [("n", n, 1), ("size", size, least), *((k, v, 1) for k, v in more.items())]:
        if value < low:
            raise ValueError(f"{task}: {name} must be at least {low}; got {value}")
    return torch.Generator(device).manual_seed(seed)


def consecutive(n: int, size: int, length: int, generator: torch.Generator, device) -> Tensor:
    """True on ``length`` consecutive places of a ring, beginning anywhere: (n, size)."""
    start = torch.randint(size, (n, 1), generator=generator, device=device)
    return (torch.arange(size, device=device) - start) % size < length
