"""Position attention: every pixel is given a mean of all the pixels that look like it.

Paper: fu2019dual, section 3.2. A convolution sees its surroundings only. Here each pixel i asks with a query, every
pixel j answers with a key, and the values come together with weights that the two have agreed on, however far apart
they are:

    s_ij = softmax over j of q_i · k_j                  eq. 1,  q, k: C -> C/8
    y_i  = gamma sum_j s_ij v_j + x_i                   eq. 2,  v: C -> C

The gain gamma starts at zero, so that the module starts as the identity.

Cost: C^2 + C^2/4 + 5C/4 + 1 parameters; N C^2 + N C^2/4 + N^2 (C + C/8) multiply-adds for N = HW. The N x N weights are
never stored: a fused kernel forms them a tile at a time.

Growth: N^2

Where this differs: the paper's B and C, here q and k, have all C channels; the official code gives them C/8, and that
is the default (``reduction=1`` gives the paper's). Neither divides q · k by the root of its length, as Transformers do.
Widely copied versions put a 3x3 convolution and a scaled attention with a projection of its output in the place of
this module, and leave out gamma and x. Below eight channels the official code has no query at all; here it has one. The
keys' bias, which the official code has, moves all logits of a pixel alike: it changes nothing and never learns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "fu2019dual"
CHAPTER = "06_everyone_to_everyone"


class PositionAttention(nn.Module):
    """Attention of every pixel to every pixel, added with a learned gain.

    Args:
        dim: channels C.
        reduction: how much narrower queries and keys are; they have max(1, C // reduction) channels.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``reduction`` is not positive.
    """

    def __init__(self, dim: int, reduction: int = 8):
        super().__init__()
        check_positive("PositionAttention", dim=dim, reduction=reduction)
        self.dim, self.width = dim, max(1, dim // reduction)
        self.query = nn.Linear(dim, self.width)
        self.key = nn.Linear(dim, self.width)
        self.value = nn.Linear(dim, dim)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Add to every pixel of (B, C, H, W) what it finds in the whole image."""
        check_image(x, self.dim, "PositionAttention")
        pixels = x.flatten(2).transpose(1, 2).unsqueeze(1).contiguous()  # (B, 1, N, C): one head
        # The fused kernels want queries as long as values; zeros change no product, and the N x N map stays unmade.
        q, k = (F.pad(project(pixels), (0, self.dim - self.width)) for project in (self.query, self.key))
        y = F.scaled_dot_product_attention(q, k, self.value(pixels), scale=1.0)  # (B, 1, N, C)
        return torch.addcmul(x, self.gamma, y.squeeze(1).transpose(1, 2).unflatten(2, x.shape[2:]))


BLOCKS = {"danet_position": PositionAttention}
REFERENCES = {"danet_position": ("recorded:danet_position",)}
