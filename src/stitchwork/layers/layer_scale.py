"""Layer scale: a residual branch begins almost silent."""

import torch
from torch import Tensor, nn


class LayerScale(nn.Module):
    """Multiply each channel of a residual branch by a learned factor that starts small.

    Paper: touvron2021cait, section 2, eq. 4. A deep network of such blocks starts close to the identity.

    Args:
        dim: channels C.
        init: the factor at the start.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, init: float = 1e-6):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim, 1, 1), init))

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); with the ``shortcut`` added, in the same pass, where there is one."""
        return x * self.gamma if shortcut is None else torch.addcmul(shortcut, x, self.gamma)
