"""BatchNorm of a pooled image: one value in each channel and image."""

import torch.nn.functional as F
from torch import Tensor, nn


class PooledBatchNorm(nn.BatchNorm2d):
    """BatchNorm for (B, C) or (B, C, 1, 1) that can train with a single image.

    A pooled image gives a channel one value, so the statistics of a batch are over B numbers, and of a single image
    there are none: its variance is zero, its normalised value always zero, and PyTorch refuses. This layer then takes
    the running statistics, as in evaluation, and leaves them as they are. From two images on it is BatchNorm, with the
    same parameters and buffers.

    Args:
        num_features: channels C.

    Shapes:
        (B, C) -> (B, C), or (B, C, 1, 1) -> (B, C, 1, 1)

    Raises:
        ValueError: an input of another rank.
    """

    def __init__(self, num_features: int):
        super().__init__(num_features)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the batch, or, for one image and in evaluation, with the running statistics."""
        if self.training and x.shape[0] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() not in (2, 4):
            raise ValueError(f"PooledBatchNorm takes (B, C) or (B, C, 1, 1); got shape {tuple(x.shape)}: pool it first")
