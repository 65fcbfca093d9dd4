"""Channel attention by comparison: every channel is given a mean of the channels that resemble it least.

Paper: fu2019dual, section 3.3. Take a channel's whole map as a vector of N = HW numbers. The C x C products of such
vectors say which channels respond together, and decide how the channels are mixed; nothing but the final gain is
learned:

    E_ij = x_i · x_j                                    over the pixels
    y_i  = gamma sum_j softmax_j(max_j E_ij - E_ij) x_j + x_i

The gain gamma starts at zero, so that the module starts as the identity.

Cost: 1 parameter; 2 N C^2 multiply-adds and a C x C map.

Growth: N^1

Where this differs: the paper's eq. 3 is softmax(E), which attends to the *most* similar channels, and so mostly to the
channel itself. The official code subtracts E from its maximum first, which turns the order round: the least similar
channels get the weight, and the channel itself next to none. That is what the published results were made with, and
the default; ``most_similar=True`` gives eq. 3. The official code also forms E as it stands, a sum over all pixels that
overflows half precision on a large image and gives NaN; here it is a mean until the largest is subtracted.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "fu2019dual"
CHAPTER = "06_everyone_to_everyone"


class ChannelAttention(nn.Module):
    """Attention of every channel to every channel, added with a learned gain.

    Args:
        dim: channels C.
        most_similar: attend to the channels that are most alike, as the paper writes, in the place of the least alike.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` is not positive.
    """

    def __init__(self, dim: int, most_similar: bool = False):
        super().__init__()
        check_positive("ChannelAttention", dim=dim)
        self.dim, self.sign = dim, 1 if most_similar else -1
        self.softmax = nn.Softmax(dim=-1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Add to every channel of (B, C, H, W) a mean of the others."""
        check_image(x, self.dim, "ChannelAttention")
        channels = x.flatten(2)  # (B, C, N)
        count = channels.shape[2]
        nothing = channels.new_zeros(1, 1, 1)
        # (B, C, C): E / N, of the size of x². The kernel divides before it rounds.
        logits = torch.baddbmm(nothing, channels, channels.transpose(1, 2), beta=0, alpha=self.sign / count)
        # Nothing above zero is multiplied by N, so that what leaves the range of half precision becomes a weight of 0.
        weights = self.softmax(count * (logits - logits.detach().amax(2, keepdim=True)))
        return torch.addcmul(x, self.gamma, (weights @ channels).unflatten(2, x.shape[2:]))


BLOCKS = {"danet_channel": ChannelAttention}
REFERENCES = {"danet_channel": ("recorded:danet_channel",)}
