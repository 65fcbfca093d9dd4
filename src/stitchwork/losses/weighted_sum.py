"""Losses that are added."""

from torch import Tensor, nn


class WeightedSum(nn.Module):
    """A sum of losses, each with a factor.

    >>> loss = WeightedSum((0.4, CrossEntropy()), (0.6, Dice()))

    Args:
        *parts: pairs of a factor and a loss.

    Shapes:
        what all the losses take -> ()

    Raises:
        ValueError: no parts, or a factor that is not greater than 0.
    """

    def __init__(self, *parts: tuple[float, nn.Module]):
        super().__init__()
        if not parts or min(factor for factor, _ in parts) <= 0:
            raise ValueError(f"WeightedSum takes pairs of a factor greater than 0 and a loss; got {parts}")
        self.factors = [factor for factor, _ in parts]
        self.losses = nn.ModuleList(loss for _, loss in parts)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum."""
        return sum(factor * loss(logits, labels) for factor, loss in zip(self.factors, self.losses))
