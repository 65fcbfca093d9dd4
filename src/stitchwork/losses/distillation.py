"""Learning from a teacher."""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

DISTILLATIONS = ("hard", "soft")


class Distillation(nn.Module):
    """Learn from the labels and from a teacher, each with a head of its own.

    Paper: touvron2021training, section 3, eqs. 2 and 3. With the class token's logits Z_c, those of the distillation
    token Z_d, the teacher's Z_t and labels y:

        soft:  (1 - a) CE(Z_c, y) + a T^2 KL(softmax(Z_t / T) || softmax(Z_d / T))      (hinton2015distilling)
        hard:  (1 - a) CE(Z_c, y) + a CE(Z_d, argmax Z_t)

    T^2 gives the gradient of the soft part a size that does not depend on T. A network without a distillation token
    gives the same logits for both. The soft part is the sum over the classes and the mean over the images, as the
    divergence is defined; code that divides by the classes too gives the teacher a K-th of the weight. A segmentation
    network is taught at each pixel; the lesson is the pixels' mean.

    Args:
        kind: ``"hard"`` or ``"soft"``.
        alpha: a, the teacher's share, 0 to 1; the paper has 0.5 for hard labels and 0.1 for soft ones.
        temperature: T > 0 of the soft labels; the paper has 3.
        label_smoothing: share of the labels' target that is spread evenly over all classes.
        loss: what stands in for CE(Z_c, y), called with logits and labels; it smooths by itself if at all.

    Shapes:
        student (B, 2, K) or (B, K), teacher (B, K), labels (B,) -> ();
        for maps (B, K, H, W), (B, K, H, W), (B, H, W) -> ()

    Raises:
        ValueError: an argument out of range, or logits of other shapes.
    """

    def __init__(
        self,
        kind: str = "hard",
        alpha: float = 0.5,
        temperature: float = 3.0,
        label_smoothing: float = 0.0,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ):
        super().__init__()
        if kind not in DISTILLATIONS:
            raise ValueError(f"Distillation: kind must be 'hard' or 'soft'; got {kind!r}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"Distillation: alpha must be between 0 and 1; got {alpha}")
        if temperature <= 0:
            raise ValueError(f"Distillation: temperature must be greater than 0; got {temperature}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"Distillation: label_smoothing must be at least 0 and below 1; got {label_smoothing}")
        if loss is not None and label_smoothing:
            raise ValueError(
                f"Distillation: label_smoothing={label_smoothing} is for cross-entropy; smooth in your loss"
            )
        self.kind, self.alpha, self.temperature, self.label_smoothing = kind, alpha, temperature, label_smoothing
        self.loss = loss

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """(B, 2, K) or (B, K, ...), (B, K, ...), (B, ...) -> ()."""
        label_logits, taught = student.unbind(1) if student.dim() == 3 else (student, student)
        if taught.shape != teacher.shape:
            raise ValueError(
                f"Distillation: the teacher's logits must have the student's shape {tuple(taught.shape)}; got "
                f"{tuple(teacher.shape)}: take a teacher of the same classes"
            )
        own = self.loss or partial(F.cross_entropy, label_smoothing=self.label_smoothing)
        if self.kind == "hard":
            lesson = F.cross_entropy(taught, teacher.argmax(1))
        else:
            t = self.temperature
            log_student, log_teacher = F.log_softmax(taught / t, dim=1), F.log_softmax(teacher / t, dim=1)
            divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)  # (B, ...)
            lesson = divergence.mean() * (t * t)
        return (1 - self.alpha) * own(label_logits, labels) + self.alpha * lesson
