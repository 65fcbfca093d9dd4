"""Look at a module in evaluation mode and leave it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the ``with``; afterwards every submodule is back in the mode it had on its own.

    ``module.train()`` at the end would not do: it would wake up layers that were frozen in evaluation mode.
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def device_of(module: nn.Module) -> torch.device:
    """The device of the module's first parameter or buffer; the CPU if it has neither."""
    return next((t.device for t in [*module.parameters(), *module.buffers()]), torch.device("cpu"))


def dtype_of(module: nn.Module) -> torch.dtype:
    """The floating-point type of the module's first parameter or buffer; torch's default if it has none."""
    tensors = [*module.parameters(), *module.buffers()]
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())


def first_tensor(output: object) -> Tensor:
    """The first tensor of what a module returned: the tensor itself, or the first in a tuple, list or dict.

    Raises:
        TypeError: there is none.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, tuple | list) and output:
        return first_tensor(output[0])
    raise TypeError(f"expected a tensor, or a tuple, list or dict that begins with one; got {type(output).__name__}")
