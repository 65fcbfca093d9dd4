"""How much memory a call needs at its peak, on top of what was there before it."""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stitchwork.analysis.evaluation import device_of
from stitchwork.analysis.latency import inference_if_module


def measure_peak_memory(call: Callable | nn.Module, *inputs: Tensor, device: torch.device | str | None = None) -> int:
    """Bytes of the tensors that a call holds at its worst moment, beyond those that lived before it.

    Weights and inputs do not count, what is made of them does: outputs, intermediate results, and what is kept for the
    backward pass. A module runs as in inference (evaluation mode, no gradients); any other callable as it stands.

    On the CPU the storage of every tensor is counted from the operation that made it until it is freed, so the figure
    is exact and the same on every machine; scratch space inside a kernel and tensors that NumPy makes are not seen. On
    CUDA it is the allocator's own peak, which has both, and rounds each tensor up to 512 bytes.

    Args:
        call: a module or function.
        *inputs: its arguments.
        device: where it runs. Without it the device of the first input, else of the module, else the CPU: a function
            without inputs that works on a GPU must say so.

    Raises:
        ValueError: a device that is neither CPU nor CUDA.
    """
    if device is None:
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        device = tensors[0].device if tensors else device_of(call) if isinstance(call, nn.Module) else "cpu"
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"measure_peak_memory knows the devices cpu and cuda; got {device}")
    with inference_if_module(call):
        return _peak_on_cuda(call, inputs, device) if device.type == "cuda" else _peak_on_cpu(call, inputs)


def _peak_on_cuda(call: Callable, inputs: tuple, device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call(*inputs)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _peak_on_cpu(call: Callable, inputs: tuple) -> int:
    count = _LiveBytes()
    try:
        with count:
            call(*inputs)
    finally:
        count.unfollow()
    return count.peak


class _LiveBytes(TorchDispatchMode):
    """Follows every storage from the operation that returns it to the moment it is freed."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.followed: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        # What goes into an operation and was made by none before it is older than the call: it costs nothing.
        for storage in self.storages((args, kwargs)):
            self.follow(storage, size=0)
        output = function(*args, **(kwargs or {}))
        for storage in self.storages(output):
            self.follow(storage, size=storage.nbytes())
        return output

    @staticmethod
    def storages(tree) -> list[torch.UntypedStorage]:
        return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]

    def follow(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key not in self.followed:
            self.live += size
            self.peak = max(self.peak, self.live)
            self.followed[key] = weakref.finalize(storage, self.freed, key, size)

    def freed(self, key: int, size: int) -> None:
        del self.followed[key]
        self.live -= size

    def unfollow(self) -> None:
        """Let go of what outlives the call, such as the weights."""
        for finalizer in self.followed.values():
            finalizer.detach()
