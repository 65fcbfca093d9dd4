"""Everything random is a function of the seed and the step.

Nothing is drawn from a generator that runs on from step to step, so there is no random state to save: a run that
resumes at step 1,000 finds the order, the mixup, the dropout and the augmentation that the uninterrupted run had there.
"""

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch


def derive_seed(*what: object) -> int:
    """A seed of 32 bits from a description such as ``(recipe.seed, "order", epoch)``."""
    return zlib.crc32(repr(what).encode())


def seed_everything(*what: object) -> None:
    """Seed Python, NumPy and PyTorch (on every device in use) for what comes next.

    ``torch.manual_seed`` would do, were it not for the milliseconds that it takes, at every step, on a machine whose
    CUDA has not been used.
    """
    seed = derive_seed(*what)
    random.seed(seed)
    numpy.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@contextmanager
def borrowed_generators(device: torch.device) -> Iterator[None]:
    """Give the caller's random states back on the way out."""
    python, state = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(state)


def epoch_order(length: int, seed: int, epoch: int) -> list[int]:
    """The order of the samples in one epoch."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(length, generator=generator).tolist()
