"""DANet's head: attention over positions beside attention over channels, and the sum of the two.

Paper: fu2019dual, section 3.4. Two branches narrow the features to a quarter, let position attention work in the one
and channel attention in the other, smooth what comes, and are added before a pointwise classifier:

    p = conv3(PositionAttention(conv3(x)))              conv3: 3x3 convolution, BatchNorm, ReLU; the first C -> C/4
    c = conv3(ChannelAttention(conv3(x)))
    y = conv1(dropout(p + c))                           C/4 -> out_dim

As a plug-in the classifier has as many outputs as there are inputs: (B, C, H, W) to the same shape.

Cost: with D = C/4, 18 C D + 18 D^2 + 5 D^2/4 + C D weights, each used once a pixel; N^2 (D + D/8) + 2 N D^2
multiply-adds for the two attentions over N = HW positions and D channels.

Growth: N^2

Where this differs: the official head also classifies p and c on their own, for two auxiliary losses, and returns the
three results; ``auxiliary=True`` does, with ``out_dim`` the number of classes. Without the losses those two layers
would never be trained, so a plug-in does not have them. Widely copied versions are another module: a 3x3 convolution
and one scaled attention in each branch, the channels' with a layer as wide as the image has pixels, so that it takes
one size only; no gamma, no input added; and the size and the width are written into the constructor. The bias of the
position attention's keys, as said there, never learns.
"""

from torch import Tensor, nn

from stitchwork.blocks.danet_channel import ChannelAttention
from stitchwork.blocks.danet_position import PositionAttention
from stitchwork.layers import ConvNormAct, check_image, check_positive

PAPER = "fu2019dual"
CHAPTER = "06_everyone_to_everyone"


class DANet(nn.Module):
    """Position attention and channel attention in one head.

    Args:
        dim: channels C.
        out_dim: channels of the output, such as classes; ``dim`` without it.
        reduction: how much narrower the branches are; they have max(1, C // reduction) channels.
        dropout: probability in [0, 1) with which a whole channel is dropped in front of a classifier, in training.
        auxiliary: classify the two branches on their own as well.

    Shapes:
        (B, C, H, W) -> (B, out_dim, H, W), or with ``auxiliary`` three of these: of both branches, of the positions,
        of the channels. In training B·H·W must be greater than 1, for the BatchNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim``, ``out_dim`` or ``reduction`` is not positive;
            ``dropout`` is not in [0, 1).
    """

    def __init__(
        self,
        dim: int,
        out_dim: int | None = None,
        reduction: int = 4,
        dropout: float = 0.1,
        auxiliary: bool = False,
    ):
        super().__init__()
        out_dim = dim if out_dim is None else out_dim
        check_positive("DANet", dim=dim, out_dim=out_dim, reduction=reduction)
        if not 0 <= dropout < 1:
            raise ValueError(f"DANet: dropout must be at least 0 and below 1; got {dropout}")
        width = max(1, dim // reduction)
        self.dim = dim
        self.position = nn.Sequential(
            ConvNormAct(dim, width, 3), PositionAttention(width), ConvNormAct(width, width, 3)
        )
        self.channel = nn.Sequential(ConvNormAct(dim, width, 3), ChannelAttention(width), ConvNormAct(width, width, 3))
        self.classify = nn.ModuleList(
            nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, out_dim, 1)) for _ in range(3 if auxiliary else 1)
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Let the pixels and the channels of (B, C, H, W) attend, each in its branch, and add the branches."""
        check_image(x, self.dim, "DANet")
        p, c = self.position(x), self.channel(x)  # (B, C/4, H, W) each
        outputs = tuple(classify(y) for classify, y in zip(self.classify, (p + c, p, c)))
        return outputs if len(outputs) > 1 else outputs[0]


BLOCKS = {"danet": DANet}
REFERENCES = {"danet": ("recorded:danet.head",)}
