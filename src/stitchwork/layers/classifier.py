"""What every classifier of the book can do, written once."""

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers.checks import check_image
from stitchwork.layers.fused_conv import refuse_if_fused


class Classifier(nn.Module):
    """Base of the classification networks: features, then head.

    A network builds its layers, calls :meth:`reset_head`, and defines :meth:`forward_features`; where something stands
    between the pooling and the linear classifier, also :meth:`pre_logits`. Pyramid networks also have
    ``pyramid_channels`` and ``forward_pyramid``.

    Args:
        in_chans: channels of the input image.
        num_features: channels of the last feature map.
        dropout: probability in [0, 1) with which a pooled feature is dropped in training.
        head_features: numbers that the linear classifier sees, where they are not ``num_features``.

    Attributes:
        min_size: the least height and width in pixels.

    Shapes:
        (B, in_chans, H, W) -> logits (B, num_classes), or pooled features (B, head_features) if ``num_classes`` is 0.
    """

    min_size = 1

    def __init__(self, in_chans: int, num_features: int, dropout: float = 0.0, head_features: int | None = None):
        super().__init__()
        if in_chans < 1:
            raise ValueError(f"{type(self).__name__}: in_chans must be at least 1; got {in_chans}")
        if not 0 <= dropout < 1:
            raise ValueError(f"{type(self).__name__}: dropout must be at least 0 and below 1; got {dropout}")
        self.in_chans, self.num_features, self.dropout = in_chans, num_features, dropout
        self.head_features = num_features if head_features is None else head_features

    def reset_head(self, num_classes: int) -> None:
        """Put a fresh linear classifier on the pooled features, or none at all if ``num_classes`` is 0."""
        if num_classes < 0:
            raise ValueError(f"num_classes must be 0 (pooled features) or more; got {num_classes}")
        self.num_classes = num_classes
        self.head = nn.Linear(self.head_features, num_classes) if num_classes else nn.Identity()

    def check_input(self, x: Tensor) -> None:
        """Refuse what is no batch of images with this network's channels and least size."""
        check_image(x, self.in_chans, type(self).__name__, self.min_size)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map: (B, in_chans, H, W) -> (B, num_features, H', W')."""
        raise NotImplementedError

    def pre_logits(self, x: Tensor) -> Tensor:
        """The means over the pixels, which the classifier sees: (B, num_features, H', W') -> (B, head_features)."""
        return x.mean((2, 3))

    def forward_head(self, x: Tensor) -> Tensor:
        """Pool and classify: (B, num_features, H', W') -> (B, num_classes)."""
        return self.head(F.dropout(self.pre_logits(x), self.dropout, self.training))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of the images (B, in_chans, H, W)."""
        return self.forward_head(self.forward_features(x))

    def train(self, mode: bool = True) -> "Classifier":
        """Switch to training or to evaluation.

        Raises:
            RuntimeError: training, and the network is fused; nothing has been switched.
        """
        if mode:
            refuse_if_fused(self)
        return super().train(mode)
