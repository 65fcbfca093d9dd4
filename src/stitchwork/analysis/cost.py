"""What a module costs on paper: parameters and multiply-adds."""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stitchwork.analysis.evaluation import device_of, dtype_of, evaluation_mode

if TYPE_CHECKING:
    import pandas as pd


def count_parameters(module: nn.Module) -> int:
    """Number of parameters; one that several layers share counts once, buffers do not count."""
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def count_multiply_adds(module: nn.Module, *inputs: Tensor, input_size: Sequence[int] | None = None) -> int:
    """Multiply-adds of one forward pass in evaluation mode: convolutions and matrix products, nothing else.

    This is the figure that papers print (often as "FLOPs", though one multiply-add is two floating-point operations).
    Additions of a bias, normalisations, activations, pooling and elementwise products do not count. Attention counts
    in its plain form, two matrix products, whatever kernel would run it. The module and its modes are left as they
    were; on the ``meta`` device the count costs neither memory nor time:

    >>> with torch.device("meta"):
    ...     model = stitchwork.create_model("resnet152")
    >>> count_multiply_adds(model, input_size=(1, 3, 224, 224))
    11513626624

    Args:
        module: anything whose forward takes ``inputs``.
        *inputs: what goes in; the whole batch is counted.
        input_size: in the place of inputs, the shape of the only one, such as (1, 3, 224, 224). A tensor of that
            shape is made on the module's device, of its type.

    Raises:
        ValueError: neither or both of ``inputs`` and ``input_size``.
    """
    from torch.utils.flop_counter import FlopCounterMode

    if bool(inputs) == (input_size is not None):
        raise ValueError("count_multiply_adds takes either inputs or input_size; got " + ("both" if inputs else "none"))
    if input_size is not None:
        inputs = (torch.zeros(tuple(input_size), device=device_of(module), dtype=dtype_of(module)),)
    with evaluation_mode(module), _plain_attention(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2


@contextmanager
def _plain_attention():
    """Attention as two matrix products: fused kernels are one operation, of which some have no formula."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


def cost_table(modules: Mapping[str, nn.Module], input_size: Sequence[int]) -> "pd.DataFrame":
    """Parameters and multiply-adds of several modules on an input of one shape.

    Args:
        modules: name to module.
        input_size: shape of the input, such as (1, 3, 224, 224).

    Returns:
        One row a module, in the order given; integer columns ``parameters`` and ``multiply_adds``.

    Raises:
        ValueError: no modules.
    """
    import pandas as pd

    if not modules:
        raise ValueError("cost_table needs at least one module; got none")
    rows = {
        name: {
            "parameters": count_parameters(module),
            "multiply_adds": count_multiply_adds(module, input_size=input_size),
        }
        for name, module in modules.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
