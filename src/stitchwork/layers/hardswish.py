"""The swish of the mobile networks, made of straight lines."""

import torch.nn.functional as F
from torch import Tensor, nn


class Hardswish(nn.Module):
    """x relu6(x + 3) / 6: swish with its sigmoid replaced by three straight lines.

    Paper: howard2019mobilenetv3, section 5.2. In evaluation it overwrites its input. In training the gradient needs
    the input, of which overwriting would first make a copy.

    Shapes:
        any -> the same
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return F.hardswish(x, inplace=not self.training)
