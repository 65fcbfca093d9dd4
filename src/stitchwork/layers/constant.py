"""A tensor that follows from a network's arguments and is not learned."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Constant(nn.Module):
    """Compute a tensor once and keep it on the module's device, outside of the state dict.

    A plain buffer that is not saved is lost where a network is built on the meta device and comes alive with
    ``to_empty`` and ``load_state_dict``: the memory is new, and nothing fills it. This one is computed again.

    Args:
        compute: gives the tensor; always the same.

    Shapes:
        -> whatever ``compute`` gives
    """

    def __init__(self, compute: Callable[[], Tensor]):
        super().__init__()
        self.compute = compute
        self.register_buffer("value", compute(), persistent=False)

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        with torch.device(self.value.device):
            self.value = self.compute().to(self.value.dtype)
        return self

    def forward(self) -> Tensor:
        """The tensor."""
        return self.value
