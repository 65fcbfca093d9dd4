import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from stitchwork.blocks.pyramidal_attention import Pyramid, PyramidalAttention, level_sizes, relatives
from stitchwork.transcriptions import transcribe


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def edges(steps, window_size=(4, 4, 4), inner_size=3):
    """The pairs of nodes, as a set."""
    table = relatives(steps, window_size, inner_size, torch.device("cpu"))
    return {(i, j) for i, row in enumerate(table.tolist()) for j in row if j >= 0}


@pytest.mark.parametrize("steps", [64, 67, 128, 255])
def test_levels(steps):
    sizes = level_sizes(steps, (4, 4, 4))
    assert sizes == [steps, steps // 4, steps // 16, steps // 64]
    assert PyramidalAttention(8)(torch.randn(2, steps, 8)).shape == (2, sum(sizes), 8)


def test_number_of_edges():
    """3 n - 2 on each level of n nodes, and two for each child."""
    assert len(edges(64)) == (3 * 85 - 2 * 4) + 2 * 84 == 415
    assert len(edges(256)) == (3 * 340 - 2 * 4) + 2 * 336


def test_table_of_a_small_tree():
    """Five steps, two nodes above of two children each; the fifth step is a third child of the last node."""
    assert edges(5, (2,), 1) == {(i, i) for i in range(7)} | {
        pair
        for child, parent in ((0, 5), (1, 5), (2, 6), (3, 6), (4, 6))
        for pair in ((child, parent), (parent, child))
    }
    with_neighbours = edges(5, (2,), 3) - edges(5, (2,), 1)
    assert with_neighbours == {(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2), (3, 4), (4, 3), (5, 6), (6, 5)}


@pytest.mark.parametrize(("steps", "window_size"), [(64, (4, 4, 4)), (127, (4, 4, 4)), (77, (2, 5, 3)), (30, (7,))])
def test_who_sees_is_seen(steps, window_size):
    pairs = edges(steps, window_size)
    assert pairs == {(j, i) for i, j in pairs}
    assert all((i, i) in pairs for i in range(sum(level_sizes(steps, window_size))))


def test_no_relative_is_listed_twice():
    for row in relatives(127, (4, 4, 4), 5, torch.device("cpu")).tolist():
        known = [j for j in row if j >= 0]
        assert len(known) == len(set(known))


def test_pyramid_equals_the_formula():
    torch.manual_seed(0)
    pyramid, x = Pyramid(8, (2, 3), 4).double().train(), noise(3, 13, 8)
    z, levels = pyramid.down(x), []
    for conv, children in zip(pyramid.convs, (2, 3)):
        nodes = z.shape[1] // children
        z = torch.stack(
            [
                sum(z[:, children * i + c] @ conv.weight[:, :, c].T for c in range(children)) + conv.bias
                for i in range(nodes)
            ],
            1,
        )
        z = F.elu((z - z.mean((0, 1))) / (z.var((0, 1), correction=0) + 1e-5).sqrt())
        levels.append(pyramid.up(z))
    torch.testing.assert_close(pyramid(x), pyramid.norm(torch.cat([x, *levels], 1)))


@pytest.mark.parametrize(
    ("steps", "arguments"),
    [
        (64, {}),
        (70, {}),
        (127, {"inner_size": 5}),
        (31, {"window_size": (2, 5), "n_head": 2, "d_k": 3}),
        (9, {"window_size": (4,)}),
    ],
)
def test_equals_attention_under_a_mask(steps, arguments):
    torch.manual_seed(0)
    block = PyramidalAttention(8, **arguments).double().eval()
    x = noise(2, steps, 8).requires_grad_()
    ours, plain = block(x), transcribe("pyramidal_attention", block)(x)
    torch.testing.assert_close(ours, plain)
    of_ours, of_plain = (torch.autograd.grad(y[:, ::3].square().sum(), x)[0] for y in (ours[..., :3], plain[..., :3]))
    torch.testing.assert_close(of_ours, of_plain)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that an operation makes."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numel = max(self.numel, out.numel())
        return out


def test_no_matrix_of_steps_by_steps():
    """Four times the steps, four times the largest tensor; the plain form's grows sixteenfold."""
    block = PyramidalAttention(8, n_head=2, d_k=4).eval()
    sizes = {}
    for name, module in (("ours", block), ("plain", transcribe("pyramidal_attention", block))):
        for steps in (64, 256):
            with torch.no_grad(), Largest() as largest:
                module(torch.randn(1, steps, 8))
            sizes[name, steps] = largest.numel
    assert sizes["ours", 256] / sizes["ours", 64] < 4.2
    assert sizes["plain", 256] / sizes["plain", 64] > 15


def test_far_steps_are_a_few_layers_apart():
    """News from the first step are at the last after as many layers as it takes to climb the tree and come down."""
    pairs = edges(256)
    reached, layers = {0}, 0
    while 255 not in reached:
        reached |= {j for i, j in pairs if i in reached}
        layers += 1
    assert layers == 3 + 3 + 3  # up three levels, along the four nodes of the top, and down


def test_single_node_in_a_batch_of_one():
    torch.manual_seed(0)
    block = PyramidalAttention(8).train()
    block(torch.randn(1, 64, 8)).square().sum().backward()
    assert block.pyramid.norms[2].running_mean.abs().max() == 0  # nothing to learn from one number
    assert block.pyramid.norms[1].running_mean.abs().max() > 0
    assert block.pyramid.convs[2].weight.grad.isfinite().all()


@pytest.mark.parametrize(("dim", "window_size"), [(64, (4, 4, 4)), (67, (2, 3))])
def test_parameters(dim, window_size):
    count = sum(p.numel() for p in PyramidalAttention(dim, window_size).parameters())
    m, inner = 16, 64
    levels = len(window_size)
    assert count == 2 * dim * m + 4 * dim * inner + m**2 * sum(window_size) + (3 * levels + 1) * m + 6 * dim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window_size": ()}, r"window_size must be .* got \(\)"),
        ({"window_size": (4, 1)}, "at least 2"),
        ({"inner_size": 2}, "inner_size must be odd.* got 2"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        PyramidalAttention(8, **arguments)


def test_too_short_a_sequence_is_refused():
    with pytest.raises(ValueError, match=r"at least 64 steps; got shape \(2, 63, 8\)"):
        PyramidalAttention(8)(torch.randn(2, 63, 8))
