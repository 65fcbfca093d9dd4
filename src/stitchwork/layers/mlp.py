"""The feed-forward part of a transformer block: each token for itself."""

from collections.abc import Callable

from torch import Tensor, nn


class Mlp(nn.Module):
    """Two linear layers with an activation between them.

    Paper: vaswani2017attention, section 3.3, with GELU in the place of ReLU.

    Args:
        dim: numbers C of a token.
        hidden: width between the layers.
        act: builds the activation.

    Shapes:
        (..., C) -> (..., C)
    """

    def __init__(self, dim: int, hidden: int, act: Callable[[], nn.Module] = nn.GELU):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = act()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.fc2(self.act(self.fc1(x)))
