"""Stochastic depth: in training, leave a whole residual branch out for some of the images."""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Set the branch to zero for each image with some probability, and scale up what stays.

    Paper: huang2016deep, section 3. Each image loses each branch independently, so that it sees a shallower network;
    dividing by the share that stays keeps the expectation, and evaluation needs no change.

    Args:
        rate: probability in [0, 1) with which an image's branch is left out.

    Shapes:
        (B, ...) -> (B, ...)

    Raises:
        ValueError: a rate out of range.
    """

    def __init__(self, rate: float = 0.0):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"DropPath: rate must be at least 0 and below 1; got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training or self.rate == 0:
            return x
        kept = x.new_empty(x.shape[0], *[1] * (x.dim() - 1)).bernoulli_(1 - self.rate)  # (B, 1, ...)
        return x * (kept / (1 - self.rate))


def drop_path_rates(rate: float, depths: tuple[int, ...]) -> list[list[float]]:
    """For each stage the rates of its blocks: rising linearly from 0 at the first block to ``rate`` at the last.

    >>> drop_path_rates(0.3, (1, 3))
    [[0.0], [0.1, 0.2, 0.3]]

    Raises:
        ValueError: a rate out of range.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"drop_path_rate must be at least 0 and below 1; got {rate}")
    last = max(1, sum(depths) - 1)
    blocks = iter(range(sum(depths)))
    return [[round(rate * next(blocks) / last, 12) for _ in range(depth)] for depth in depths]
