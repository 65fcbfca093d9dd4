"""Pyramidal attention: a tree of ever coarser steps, in which each node talks to its relatives only.

Paper: liu2022pyraformer, section 3. Every step attending to every other costs T^2; neighbours alone cost T, but then
far steps are T layers apart. Pyraformer builds coarser levels above the sequence, each node the summary of c = 4 nodes
below, and lets a node see its A = 3 neighbours on its level (itself among them), its children and its parent. From any
step to any other it is a short way up and down the tree, and there are O(T) edges:

    CSCM:  z_0 = W_down x,   z_l = elu(BN(conv z_{l-1})), kernel and stride c,   p = LN([x; W_up [z_1; z_2; z_3]])
    PAM:   y_i = LN(p_i + W_o sum over j in relatives(i) of softmax_j(q_i · k_j / sqrt(d)) v_j)

The output is the whole pyramid, level after level; its first T nodes are the steps.

Cost, with C channels, D = h d, m = d_bottleneck, L levels above the steps: 2 C m + 4 C D + m^2 sum of c_l + (3 L + 1)
m + 6 C parameters; M < 4/3 T nodes, 4 M C D multiply-adds for the projections and 2 (A + 2 c) M D for the attention.
Growth: N^1

Where this differs: the official code has the sparse form only as a CUDA kernel of its own; beside it stands a dense
attention under a mask of M x M, whose result is the one here. Here the keys and values of the relatives are gathered,
and no M x M matrix exists. As in the official code, steps left over at the end, which do not fill a node, are further
children of the last node, though its convolution does not see them. A widely copied version lets the finest level
attend to all earlier steps and to one later, which is O(T^2) again, drops bottleneck, BatchNorm, residual and the last
LayerNorm, and has ReLU for ELU. Where a single node is all that a level has in a batch (T = 64, one sequence),
BatchNorm has no statistics to train on; it then takes the running ones.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import PooledBatchNorm, check_positive

PAPER = "liu2022pyraformer"
CHAPTER = "28_beyond_images"
LAYOUT = "sequence"


def level_sizes(steps: int, window_size: Sequence[int]) -> list[int]:
    """Nodes on each level, from the steps themselves to the top."""
    sizes = [steps]
    for children in window_size:
        sizes.append(sizes[-1] // children)
    return sizes


def relatives(steps: int, window_size: Sequence[int], inner_size: int, device: torch.device) -> Tensor:
    """Neighbours, children and parent of every node, as places in the pyramid: (M, A + 2c - 1 + 1); -1 is none."""
    sizes = level_sizes(steps, window_size)
    slots = 2 * max(window_size) - 1  # the last node of a level may have up to c - 1 children too many
    table, start = [], 0
    for level, size in enumerate(sizes):
        node = torch.arange(size, device=device)[:, None]
        near = node + torch.arange(inner_size, device=device) - inner_size // 2
        near = torch.where((near >= 0) & (near < size), start + near, -1)
        if level == 0:
            children = node.new_full((1, slots), -1).expand(size, -1)
        else:
            below, expected = sizes[level - 1], window_size[level - 1]
            slot = torch.arange(slots, device=device)
            child = node * expected + slot
            own = (child < below) & ((slot < expected) | (node == size - 1))
            children = torch.where(own, start - below + child, -1)
        if level == len(window_size):
            parent = torch.full_like(node, -1)
        else:
            parent = start + size + (node // window_size[level]).clamp(max=sizes[level + 1] - 1)
        table.append(torch.cat([near, children, parent], 1))
        start = start + size
    return torch.cat(table)


class Pyramid(nn.Module):
    """The coarser-scale construction: a sequence, and below it its summaries (CSCM).

    Args:
        dim: channels C.
        window_size: children of a node, for each level above the steps.
        d_bottleneck: channels m in which the summaries are made.

    Shapes:
        (B, T, C) -> (B, M, C) with M = T + T // c_1 + T // c_1 // c_2 + ...
    """

    def __init__(self, dim: int, window_size: Sequence[int], d_bottleneck: int):
        super().__init__()
        self.down = nn.Linear(dim, d_bottleneck)
        self.convs = nn.ModuleList(nn.Conv1d(d_bottleneck, d_bottleneck, c, stride=c) for c in window_size)
        self.norms = nn.ModuleList(PooledBatchNorm(d_bottleneck) for _ in window_size)
        self.up = nn.Linear(d_bottleneck, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Put the summaries of (B, T, C) behind it: (B, M, C)."""
        z, levels = self.down(x), []
        for conv, norm in zip(self.convs, self.norms):
            z = conv(z.transpose(1, 2)).transpose(1, 2)  # (B, n, m)
            z = F.elu(norm(z.reshape(-1, z.shape[2], 1, 1)).reshape(z.shape))  # statistics over all B * n nodes
            levels.append(z)
        return self.norm(torch.cat([x, self.up(torch.cat(levels, 1))], 1))


class PyramidalAttention(nn.Module):
    """Coarser levels above a sequence, and attention along the edges of the tree.

    Args:
        dim: channels C.
        window_size: children of a node, for each level above the steps.
        inner_size: A, neighbours that a node sees on its level, itself among them; odd.
        d_bottleneck: channels in which the coarser levels are made.
        n_head: heads of the attention.
        d_k: channels of each head, of queries, keys and values.

    Shapes:
        (B, T, C) -> (B, M, C) with M = T + T // c_1 + T // c_1 // c_2 + ..., for T of at least the product of
        ``window_size``: the steps, then the coarser levels one after another.

    Raises:
        ValueError: the input is not (B, T, C) with this C, or so short that a level is empty; a number is not positive;
            ``inner_size`` is even; ``window_size`` is empty.
    """

    def __init__(
        self,
        dim: int,
        window_size: Sequence[int] = (4, 4, 4),
        inner_size: int = 3,
        d_bottleneck: int = 16,
        n_head: int = 4,
        d_k: int = 16,
    ):
        super().__init__()
        owner = "PyramidalAttention"
        check_positive(owner, dim=dim, inner_size=inner_size, d_bottleneck=d_bottleneck, n_head=n_head, d_k=d_k)
        if not window_size or min(window_size) < 2:
            raise ValueError(
                f"{owner}: window_size must be one number of at least 2 for each level; got {tuple(window_size)}"
            )
        if inner_size % 2 == 0:
            raise ValueError(f"{owner}: inner_size must be odd: as many neighbours before as after; got {inner_size}")
        self.dim, self.window_size, self.inner_size, self.n_head = dim, tuple(window_size), inner_size, n_head
        self.min_steps = math.prod(window_size)
        self.pyramid = Pyramid(dim, window_size, d_bottleneck)
        self.query = nn.Linear(dim, n_head * d_k, bias=False)
        self.key = nn.Linear(dim, n_head * d_k, bias=False)
        self.value = nn.Linear(dim, n_head * d_k, bias=False)
        self.attention = nn.Softmax(dim=2)
        self.fc = nn.Linear(n_head * d_k, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        for layer in (self.query, self.key, self.value, self.fc):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Build the pyramid of (B, T, C) and let its nodes talk: (B, M, C)."""
        if x.dim() != 3:
            advice = "add the batch axis with x[None]" if x.dim() == 2 else "reshape it to three axes"
            raise ValueError(
                f"PyramidalAttention takes sequences (B, T, {self.dim}); got shape {tuple(x.shape)}: {advice}"
            )
        if x.shape[2] != self.dim:
            raise ValueError(
                f"PyramidalAttention was built for {self.dim} channels; got shape {tuple(x.shape)} with {x.shape[2]}: "
                f"build it for {x.shape[2]} channels, or permute a channels-first input to (B, T, C)"
            )
        if x.shape[1] < self.min_steps:
            raise ValueError(
                f"PyramidalAttention with window_size {self.window_size} needs at least {self.min_steps} steps; got "
                f"shape {tuple(x.shape)}: take fewer levels, or a longer sequence"
            )
        table = relatives(x.shape[1], self.window_size, self.inner_size, x.device)  # (M, relatives)
        x = self.pyramid(x)
        return self.norm(x + self.fc(self.attend(x, table)))

    def attend(self, x: Tensor, table: Tensor) -> Tensor:
        """Attention of each node to its relatives: (B, M, C) -> (B, M, h * d)."""
        q = self.query(x).unflatten(2, (1, self.n_head, -1))  # (B, M, 1, h, d)
        places = table.clamp(min=0).flatten()
        k, v = (
            t.index_select(1, places).unflatten(2, (self.n_head, -1)).unflatten(1, table.shape)
            for t in (self.key(x), self.value(x))
        )  # (B, M, relatives, h, d) each
        logits = (q * k).sum(4) * q.shape[4] ** -0.5  # (B, M, relatives, h)
        weights = self.attention(logits.masked_fill((table < 0)[..., None], -math.inf))
        return (weights[..., None] * v).sum(2).flatten(2)


BLOCKS = {"pyramidal_attention": PyramidalAttention}
REFERENCES = {"pyramidal_attention": ("recorded:pyramidal_attention",)}
