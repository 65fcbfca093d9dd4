"""Double attention: gather the image into a handful of descriptors, then hand each pixel those that it asks for.

Paper: chen2018a2nets, section 3. Pixels need not meet in pairs if there is a place where all of them meet. The first
attention averages the pixels into c_n descriptors, each with weights of its own over the image; the second lets every
pixel mix the descriptors as it likes:

    G = A · softmax over pixels(B)'                     A: C -> c_m,  B: C -> c_n;  G is c_m x c_n
    y = W (G · softmax over descriptors(V)) + b         V: C -> c_n,  W: c_m -> C

The weights of either softmax sum to one, and so the order does not matter: the mean of the projected pixels is the
projection of the mean pixel. The c_n means are taken first, and A and W are then applied to c_n vectors in the place of
N = HW, with the same result.

Cost: 2 C (c_m + c_n) + c_m + 2 c_n + C parameters; 4 N C c_n + 2 C c_m c_n multiply-adds, where projecting first takes
2 N (C c_m + C c_n + c_m c_n).

Growth: N^1

Where this differs: there is no official code; the layers, and c_m = c_n = 128, are the popular PyTorch version's. The
formula is the whole module: the paper adds y to x, and so should you. The popular version leaves the axis of both
softmaxes open, and on (B, c, N) tensors PyTorch then takes the first: it normalises over the *batch*. Images of a
batch read each other, and in a batch of one every weight is 1. The bias of B, which the popular version has, moves all
logits of a descriptor alike: it changes nothing and never learns.
"""

from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive, init_conv_weights

PAPER = "chen2018a2nets"
CHAPTER = "06_everyone_to_everyone"


class DoubleAttention(nn.Module):
    """The image gathered into descriptors, and the descriptors distributed to the pixels.

    Args:
        dim: channels C.
        c_m: channels of a descriptor.
        c_n: number of descriptors.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive.
    """

    def __init__(self, dim: int, c_m: int = 128, c_n: int = 128):
        super().__init__()
        check_positive("DoubleAttention", dim=dim, c_m=c_m, c_n=c_n)
        self.dim = dim
        self.feature = nn.Conv2d(dim, c_m, 1)  # A
        self.gather = nn.Conv2d(dim, c_n, 1)  # B
        self.distribute = nn.Conv2d(dim, c_n, 1)  # V
        self.reconstruct = nn.Conv2d(c_m, dim, 1)  # W
        self.over_pixels = nn.Softmax(dim=2)
        self.over_descriptors = nn.Softmax(dim=1)
        # A mean over the image is small; with PyTorch's own initialisation next to nothing would come out.
        self.apply(init_conv_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Exchange the pixels of (B, C, H, W) through c_n descriptors."""
        check_image(x, self.dim, "DoubleAttention")
        attention = self.over_pixels(self.gather(x).flatten(2))  # (B, c_n, N)
        means = x.flatten(2) @ attention.transpose(1, 2)  # (B, C, c_n)
        descriptors = self.reconstruct(self.feature(means.unsqueeze(3))).squeeze(3)  # (B, C, c_n): W G + b
        choice = self.over_descriptors(self.distribute(x).flatten(2))  # (B, c_n, N)
        return (descriptors @ choice).unflatten(2, x.shape[2:])


BLOCKS = {"double_attention": DoubleAttention}
REFERENCES = {"double_attention": ("recorded:double_attention",)}
