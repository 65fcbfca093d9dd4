"""DeiT: ViT without a data set of hundreds of millions, taught by another network through a token of its own.

Paper: touvron2021training, sections 3 and 4. The network is ViT's; what is new is how it is trained, and a second token
beside the class token. Through all blocks this distillation token looks at the image like the class token, but its
head learns to agree with a teacher. In evaluation the two heads' logits are averaged:

    y = (head_class(z_class) + head_distillation(z_distillation)) / 2

Cost of the token: with C numbers for its start, C for its place and a second head, 0.2 M parameters in DeiT-Ti.

Where this differs: nothing from timm's, which has the official weights. ``deit_tiny``, ``deit_small`` and ``deit_base``
are ViT's networks, layer for layer, under other weights. The official code returns a pair of logits whenever it is in
training mode; here, as in timm, that is asked for, so that the network also trains without a teacher.
"""

from functools import partial

import torch
from torch import Tensor, nn

from stitchwork.layers import init_truncated_normal
from stitchwork.models.vit import ViT

PAPER = "touvron2021training"
CHAPTER = "17_vision_transformer"


class TwoHeads(nn.Module):
    """A linear classifier for the class token and one for the distillation token.

    Args:
        dim: numbers C of a token.
        num_classes: number of logits.
        apart: in training, give the logits of both in the place of their mean.

    Shapes:
        (B, 2 C) -> (B, num_classes); in training, with ``apart``, (B, 2, num_classes)
    """

    def __init__(self, dim: int, num_classes: int, apart: bool):
        super().__init__()
        self.apart = apart
        self.label = nn.Linear(dim, num_classes)
        self.distillation = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2 C) -> (B, num_classes) or (B, 2, num_classes)."""
        label, distillation = x.chunk(2, dim=1)  # (B, C) each
        logits = self.label(label), self.distillation(distillation)
        return torch.stack(logits, 1) if self.apart and self.training else (logits[0] + logits[1]) / 2


class DistilledViT(ViT):
    """ViT with a second token, whose head learns from a teacher.

    Args:
        distilled_training: in training, give the logits of both heads, (B, 2, num_classes), the class token's first.
        **kwargs: the arguments of :class:`stitchwork.models.vit.ViT`; with ``num_classes=0`` the network gives the last
            states of both tokens (B, 2 dim).

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    extra_tokens = 2

    def __init__(self, *, distilled_training: bool = False, **kwargs):
        self.distilled_training = distilled_training
        super().__init__(**kwargs)
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, self.num_features))

    def first_tokens(self) -> list[Tensor]:
        """The class token and the distillation token, (1, 1, dim) each."""
        return [self.class_token, self.distillation_token]

    def reset_head(self, num_classes: int) -> None:
        """Put two fresh linear classifiers on the two tokens, or none at all if ``num_classes`` is 0."""
        super().reset_head(num_classes)
        if num_classes:
            self.head = TwoHeads(self.num_features, num_classes, self.distilled_training)
            self.head.apply(init_truncated_normal)


deit = {
    "deit_tiny": {"dim": 192, "depth": 12, "num_heads": 3},
    "deit_small": {"dim": 384, "depth": 12, "num_heads": 6},
    "deit_base": {"dim": 768, "depth": 12, "num_heads": 12},
}
MODELS = {name: partial(ViT, **sizes) for name, sizes in deit.items()}
MODELS |= {f"{name}_distilled": partial(DistilledViT, **sizes) for name, sizes in deit.items()}
REFERENCES = {name: (f"timm:{name}_patch16_224",) for name in MODELS}
