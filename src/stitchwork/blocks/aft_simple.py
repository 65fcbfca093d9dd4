"""AFT-simple: every channel takes one weighted mean over all pixels, and the query is only a gate.

Paper: zhai2021aft, section 3.2. The attention free transformer weighs a pixel s by the exponential of its own key,
channel by channel; no two pixels' contents are ever compared. Without the learned position weights of ``aft_full``
one mean serves all pixels:

    y_t = sigmoid(Q_t) * (sum over s of e^{K_s} V_s) / (sum over s of e^{K_s})      eq. 5

That is Squeeze-and-Excitation turned round: the mean is the content, the pixel makes the gate.

Cost: 3 C^2 + 3 C parameters, 3 C^2 N multiply-adds for Q, K and V, and sums.

Growth: N^1

Where this differs: there is no official code. Copies take the exponentials as they are, which is inf / inf = NaN as
soon as a key passes 88; here they come from a softmax, which subtracts the largest. ``project=True`` adds the output
layer that one public version has and the paper has not.
"""

from torch import Tensor

from stitchwork.layers import AttentionFree

PAPER = "zhai2021aft"
CHAPTER = "07_attention_without_the_matrix"


class AFTSimple(AttentionFree):
    """One mean for all pixels.

    Args:
        dim: channels C.
        project: a 1x1 convolution behind the product with the gate.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` is not positive.
    """

    def __init__(self, dim: int, project: bool = False):
        super().__init__(dim, project)

    def mean(self, weight: Tensor, value: Tensor) -> Tensor:
        """Sum over all pixels, whose weights sum to one: (B, C, H, W) twice -> (B, C, 1, 1)."""
        return (weight * value).sum((2, 3), keepdim=True)


BLOCKS = {"aft_simple": AFTSimple}
REFERENCES = {"aft_simple": ("transcription:aft_simple",)}
