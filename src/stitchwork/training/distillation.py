"""Training under a teacher."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.losses import Distillation


class Taught(nn.Module):
    """A student that is shown its teacher's answers while it trains.

    The teacher sees what the student sees, the same crop and the same blend of mixup, in evaluation mode
    (touvron2021training, section 3). The student is trained in place; the teacher is a copy and is not.

    >>> taught = Taught(student, teacher, Distillation("hard"))
    >>> fit(taught, train, valid, recipe, loss=taught.loss, metrics=accuracy)

    Args:
        student: the network to be trained; one with a distillation token is built with ``distilled_training=True``.
        teacher: a trained network with the same classes, for labels or for maps as the student is.
        distillation: how the two are compared.

    Shapes:
        (B, C, H, W) -> (B, K); in training, the student's (B, K) or (B, 2, K) and the teacher's (B, K);
        of segmentation networks (B, K, H, W), and in training both
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, distillation: Distillation):
        super().__init__()
        self.student, self.distillation = student, distillation
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "Taught":
        """Set the student's mode; the teacher stays in evaluation."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(B, C, H, W) -> (B, K, ...); in training, the student's logits and the teacher's."""
        logits = self.student(x)
        if not self.training:
            return logits
        with torch.no_grad():
            return logits, self.teacher(x)

    def loss(self, output: Tensor | tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        """What is minimised in training, and the student's own loss in evaluation: output of forward, labels -> ()."""
        if isinstance(output, tuple):
            return self.distillation(*output, labels)
        return (self.distillation.loss or F.cross_entropy)(output, labels)
