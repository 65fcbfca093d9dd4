"""What every segmentation network of the book can do, written once."""

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers.checks import check_divisible, check_image
from stitchwork.layers.fused_conv import refuse_if_fused


class Segmenter(nn.Module):
    """Base of the segmentation networks: features for every pixel, then a 1x1 convolution to the classes.

    A network builds its layers, calls :meth:`reset_head`, and defines :meth:`forward_features`. Where its features are
    smaller than the image, the logits are scaled up.

    Args:
        in_chans: channels of the input image.
        num_features: channels of the features.
        head_bias: biases of the classifier.
        dropout: probability in [0, 1) with which a number of the features is dropped in training.

    Attributes:
        min_size: the least height and width in pixels.
        multiple: what height and width must be multiples of.

    Shapes:
        (B, in_chans, H, W) -> logits (B, num_classes, H, W), or the features (B, num_features, H', W') if
        ``num_classes`` is 0.
    """

    min_size = 1
    multiple = 1

    def __init__(self, in_chans: int, num_features: int, head_bias: bool = True, dropout: float = 0.0):
        super().__init__()
        if in_chans < 1:
            raise ValueError(f"{type(self).__name__}: in_chans must be at least 1; got {in_chans}")
        if not 0 <= dropout < 1:
            raise ValueError(f"{type(self).__name__}: dropout must be at least 0 and below 1; got {dropout}")
        self.in_chans, self.num_features, self.head_bias, self.dropout = in_chans, num_features, head_bias, dropout

    def reset_head(self, num_classes: int) -> None:
        """Put a fresh classifier on the features of each pixel, or none at all if ``num_classes`` is 0."""
        if num_classes < 0:
            raise ValueError(f"num_classes must be 0 (features) or more; got {num_classes}")
        self.num_classes = num_classes
        classifier = nn.Conv2d(self.num_features, num_classes, 1, bias=self.head_bias) if num_classes else nn.Identity()
        self.head = classifier

    def check_input(self, x: Tensor) -> None:
        """Refuse what is no batch of images with this network's channels and sizes."""
        owner = type(self).__name__
        check_image(x, self.in_chans, owner, self.min_size)
        check_divisible(x, self.multiple, owner)

    def forward_features(self, x: Tensor) -> Tensor:
        """What the classifier sees: (B, in_chans, H, W) -> (B, num_features, H', W')."""
        raise NotImplementedError

    def forward_head(self, x: Tensor) -> Tensor:
        """Classify each pixel: (B, num_features, H', W') -> (B, num_classes, H', W')."""
        return self.head(F.dropout(x, self.dropout, self.training))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W), or features if there are no classes, of the images (B, in_chans, H, W)."""
        y = self.forward_head(self.forward_features(x))
        if self.num_classes == 0 or y.shape[2:] == x.shape[2:]:
            return y
        return F.interpolate(y, size=x.shape[2:], mode="bilinear")

    def train(self, mode: bool = True) -> "Segmenter":
        """Switch to training or to evaluation.

        Raises:
            RuntimeError: training, and the network is fused; nothing has been switched.
        """
        if mode:
            refuse_if_fused(self)
        return super().train(mode)
