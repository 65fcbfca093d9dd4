"""Initialisation of the convolutional networks."""

import math

import torch
from torch import nn


@torch.no_grad()
def init_conv_weights(module: nn.Module) -> None:
    """He's normal initialisation by fan-out for convolutions, N(0, 0.01) for linear layers; for ``module.apply``.

    The fan-out of a grouped convolution counts one group, where PyTorch's own function counts all of them and starts
    a depthwise convolution sqrt(C) too small.
    """
    if isinstance(module, nn.Conv2d):
        fan_out = module.out_channels * math.prod(module.kernel_size) / module.groups
        module.weight.normal_(0, math.sqrt(2 / fan_out))
        if module.bias is not None:
            module.bias.zero_()
    elif isinstance(module, nn.Linear):
        module.weight.normal_(0, 0.01)
        if module.bias is not None:
            module.bias.zero_()


@torch.no_grad()
def init_truncated_normal(module: nn.Module) -> None:
    """A normal distribution of standard deviation 0.02 and biases of zero, for convolutions and linear layers alike.

    For ``module.apply``. So begin the convolutional networks that took their recipe from the transformers.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            module.bias.zero_()
