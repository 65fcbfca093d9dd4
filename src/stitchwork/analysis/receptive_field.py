"""Which input pixels reach an output pixel, and how much each of them counts."""

import copy
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from stitchwork.analysis.evaluation import device_of, dtype_of, evaluation_mode, first_tensor


def theoretical_receptive_field(layers: Iterable[Sequence[int]]) -> int:
    """Side in pixels of the window that one output of a stack of convolutions or poolings looks at.

    Every layer adds (kernel - 1) · dilation steps, and a step is as long as the product of all strides before it.

    Args:
        layers: (kernel, stride) or (kernel, stride, dilation) of each layer, from the input on.

    Raises:
        ValueError: a layer of another form, or a number under 1.
    """
    field, step = 1, 1
    for layer in layers:
        if len(layer) not in (2, 3) or min(layer) < 1:
            raise ValueError(f"a layer is (kernel, stride) or (kernel, stride, dilation), each at least 1; got {layer}")
        kernel, stride, dilation = (*layer, 1)[:3]
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def gradient_support(module: nn.Module, input_size: Sequence[int], samples: int = 4, seed: int = 0) -> Tensor:
    """The input pixels that the centre pixel of the output depends on.

    A pixel belongs to it if its gradient is not exactly zero for any of several random inputs. One input would not do:
    a ReLU that is off and a maximum that is elsewhere cut paths that exist. The gradient is taken in float64, on a
    copy of the module in evaluation mode. The map shows the module as it stands: a layer that was initialised with
    zeros blocks what lies behind it.

    Args:
        module: maps (1, C, H, W) to (1, C', H', W'), whose pixel (H' // 2, W' // 2) is looked at; if it returns
            anything else, such as logits (1, K), all of the output is.
        input_size: (1, C, H, W).
        samples: number of random inputs.
        seed: of the random inputs.

    Returns:
        bool (H, W), on the CPU.

    Raises:
        ValueError: ``input_size`` is not (1, C, H, W); ``samples`` is under 1.
    """
    module = copy.deepcopy(module).double()
    support = torch.zeros(tuple(input_size)[2:], dtype=torch.bool)
    for gradient in _gradients(module, input_size, samples, seed):
        support |= (gradient != 0).any(0)
    return support


def effective_receptive_field(module: nn.Module, input_size: Sequence[int], samples: int = 16, seed: int = 0) -> Tensor:
    """How much each input pixel counts for the centre pixel of the output (luo2016understanding, section 2).

    The root mean square of the gradient over random inputs and input channels, for random signs of the output
    channels, so that channels of opposite sign do not cancel. Evaluation mode; the module is left as it was.

    Args:
        module: as in :func:`gradient_support`.
        input_size: (1, C, H, W).
        samples: number of random inputs and signs.
        seed: of both.

    Returns:
        float (H, W), on the CPU, at most 1; all zero if nothing reaches the output.

    Raises:
        ValueError: ``input_size`` is not (1, C, H, W); ``samples`` is under 1.
    """
    squares = [gradient.square().mean(0) for gradient in _gradients(module, input_size, samples, seed)]
    field = torch.stack(squares).mean(0).sqrt()
    return (field / field.max().clamp_min(torch.finfo(field.dtype).tiny)).float()


def _gradients(module: nn.Module, input_size: Sequence[int], samples: int, seed: int) -> Iterator[Tensor]:
    """Gradients (C, H, W) of the centre pixel, with random signs of its channels, at random inputs."""
    if len(input_size) != 4 or input_size[0] != 1 or min(input_size) < 1:
        raise ValueError(f"input_size must be (1, C, H, W); got {tuple(input_size)}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1; got {samples}")
    generator = torch.Generator().manual_seed(seed)
    device, dtype = device_of(module), dtype_of(module)
    with evaluation_mode(module), torch.enable_grad():
        for _ in range(samples):
            x = torch.randn(tuple(input_size), generator=generator, dtype=torch.float64)
            x = x.to(device, dtype).requires_grad_()
            y = first_tensor(module(x))
            if y.dim() == 4:
                y = y[:, :, y.shape[2] // 2, y.shape[3] // 2]  # (1, C')
            signs = torch.randint(0, 2, y.shape, generator=generator) * 2 - 1
            (gradient,) = torch.autograd.grad((y * signs.to(y)).sum(), x, allow_unused=True)
            yield torch.zeros(x.shape[1:]).to(dtype) if gradient is None else gradient[0].detach().cpu()
