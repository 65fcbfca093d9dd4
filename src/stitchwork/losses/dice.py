"""Dice and Tversky: losses of regions, for which a small organ counts as much as a large one."""

from torch import Tensor, nn

from stitchwork.losses.labels import check_weights, class_weights, shares_and_targets


class Tversky(nn.Module):
    """One minus the Tversky index of each class: the share of the overlap, with two kinds of errors weighed apart.

    Paper: salehi2017tversky, eq. 2, after tversky1977features. With probabilities p and truth t, summed over pixels:

        T = (sum p t + s) / (sum p t + alpha sum p (1 - t) + beta sum (1 - p) t + s),    L = mean over classes of 1 - T

    A ``beta`` above ``alpha`` punishes what is missed more than what is wrongly found.

    Args:
        alpha: weight of what is found and is not there.
        beta: weight of what is there and is not found.
        smooth: s > 0, which makes the index of a class that is neither there nor found one.
        per_image: an index for each image, and then the mean over those of which a pixel counts; else one for the batch
            as a whole, in which a class that few images have is steadier.
        background: whether class 0 counts.
        class_weights: a factor for each class; one each if not given.
        ignore_index: the label of pixels that do not count.

    Shapes:
        logits (B, K, ...), labels (B, ...) -> (); with K = 1 labels are 0 and 1, and the only class is 1

    Raises:
        ValueError: an argument out of range; labels or weights that do not fit.
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 1e-5,
        per_image: bool = False,
        background: bool = True,
        class_weights: list[float] | None = None,
        ignore_index: int | None = None,
    ):
        super().__init__()
        for name, value in {"alpha": alpha, "beta": beta}.items():
            if value < 0:
                raise ValueError(f"{type(self).__name__}: {name} must be 0 or greater; got {value}")
        if smooth <= 0:
            raise ValueError(f"{type(self).__name__}: smooth must be greater than 0; got {smooth}")
        check_weights(type(self).__name__, class_weights)
        if not background and class_weights is not None and len(class_weights) > 1:
            check_weights(f"{type(self).__name__} without background", class_weights[1:])
        self.alpha, self.beta, self.smooth, self.per_image = alpha, beta, smooth, per_image
        self.background, self.class_weights, self.ignore_index = background, class_weights, ignore_index

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, K, ...), (B, ...) -> ()."""
        owner = type(self).__name__
        shares, targets, counts = shares_and_targets(owner, logits, labels, self.ignore_index, self.background)
        weights = class_weights(owner, self.class_weights, logits)[-shares.shape[1] :]
        shares, targets = ((part * counts)[..., None].flatten(2) for part in (shares, targets))  # (B, K, pixels)
        index = self.index(shares, targets, (2,) if self.per_image else (0, 2))  # (B, K) or (K,)
        loss = ((1 - index) * weights).sum(-1) / weights.sum()  # (B,) or ()
        return loss[counts.flatten(1).any(1)].mean() if self.per_image else loss

    def index(self, shares: Tensor, targets: Tensor, axes: tuple[int, ...]) -> Tensor:
        """The index of each class."""
        both = (shares * targets).sum(axes)
        found, there = shares.sum(axes), targets.sum(axes)
        return (both + self.smooth) / (both + self.alpha * (found - both) + self.beta * (there - both) + self.smooth)


class Dice(Tversky):
    """One minus the Dice coefficient of each class.

    Paper: milletari2016vnet, section 3. With probabilities p and truth t, summed over pixels:

        D = (2 sum p t + s) / (sum p + sum t + s),    L = mean over classes of 1 - D

    Args:
        smooth: s > 0, which makes the coefficient of a class that is neither there nor found one.
        squared: sums of p^2 and t^2 in the denominator, as in the paper and in TransUNet's code.
        **kwargs: ``per_image``, ``background``, ``class_weights`` and ``ignore_index`` of :class:`Tversky`.

    Shapes:
        logits (B, K, ...), labels (B, ...) -> (); with K = 1 labels are 0 and 1, and the only class is 1

    Raises:
        ValueError: an argument out of range; labels or weights that do not fit.
    """

    def __init__(self, smooth: float = 1e-5, squared: bool = False, **kwargs):
        super().__init__(alpha=0.5, beta=0.5, smooth=smooth, **kwargs)
        self.squared = squared

    def index(self, shares: Tensor, targets: Tensor, axes: tuple[int, ...]) -> Tensor:
        """The coefficient of each class."""
        both = (shares * targets).sum(axes)
        found, there = (part * part if self.squared else part for part in (shares, targets))
        return (2 * both + self.smooth) / (found.sum(axes) + there.sum(axes) + self.smooth)
