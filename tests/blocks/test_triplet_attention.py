import pytest
import torch
from torch import nn

from stitchwork.blocks.triplet_attention import PlaneGate, TripletAttention, z_pool


@pytest.fixture
def x():
    return torch.randn(2, 6, 5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gates(block, x):
    """What the gates give, by the letters of their planes."""
    seen = {}
    parts = {name: part for name, part in block.named_children() if isinstance(part, PlaneGate)}
    handles = [
        part.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))
        for name, part in parts.items()
    ]
    with torch.no_grad():
        block(x)
    for handle in handles:
        handle.remove()
    return seen


def test_z_pool_is_maximum_then_mean(x):
    planes = z_pool(x, 2)
    assert planes.shape == (2, 2, 6, 9)
    torch.testing.assert_close(planes[:, 0], x.max(2).values)
    torch.testing.assert_close(planes[:, 1], x.mean(2))


def test_planes(x):
    """(C, W), (H, C) and (H, W), the first letter down and the second across, as the kernels of the paper see them."""
    shapes = {name: tuple(gate.shape) for name, gate in gates(TripletAttention(6).double().eval(), x).items()}
    assert shapes == {"cw": (2, 1, 6, 9), "hc": (2, 1, 5, 6), "hw": (2, 1, 5, 9)}


def test_equals_three_gates_at_every_place(x):
    torch.manual_seed(0)
    block = TripletAttention(6).double().eval()
    g = gates(block, x)
    y = torch.empty_like(x)
    for c in range(6):
        for h in range(5):
            for w in range(9):
                total = g["cw"][:, 0, c, w] + g["hc"][:, 0, h, c] + g["hw"][:, 0, h, w]
                y[:, c, h, w] = x[:, c, h, w] * total / 3
    torch.testing.assert_close(block(x), y)


@pytest.mark.parametrize(("tap", "offset"), [((0, 1), (-1, 0)), ((1, 0), (0, -1)), ((2, 1), (1, 0)), ((1, 1), (0, 0))])
@pytest.mark.parametrize("plane", ["cw", "hc", "hw"])
def test_orientation_of_the_kernels(x, plane, tap, offset):
    """A kernel with a single tap reads the maximum of the neighbour on that side: first axis down, second across."""
    block = TripletAttention(6, kernel_size=3).double().eval()
    gate = getattr(block, plane)
    nn.init.zeros_(gate.conv.weight)
    gate.conv.weight.data[0, 0, tap[0], tap[1]] = 1
    maxima = x.amax({"c": 1, "h": 2, "w": 3}[(set("chw") - set(plane)).pop()])  # (2, ., .), the axes in the order C H W
    maxima = maxima.transpose(1, 2) if plane == "hc" else maxima
    logits = gates(block, x)[plane][:, 0].logit() * (1 + gate.norm.eps) ** 0.5
    down, across = offset
    inner = logits[:, 1:-1, 1:-1]
    rows, columns = (slice(1 + d, n - 1 + d) for d, n in ((down, logits.shape[1]), (across, logits.shape[2])))
    torch.testing.assert_close(inner, maxima[:, rows, columns])


def test_without_the_spatial_gate(x):
    torch.manual_seed(0)
    block = TripletAttention(6, no_spatial=True).double().eval()
    g = gates(block, x)
    assert set(g) == {"cw", "hc"}
    expected = (g["cw"].transpose(1, 2) + g["hc"].permute(0, 3, 2, 1)) / 2
    torch.testing.assert_close(block(x), x * expected)


@pytest.mark.parametrize(("arguments", "count"), [({}, 300), ({"no_spatial": True}, 200), ({"kernel_size": 3}, 60)])
def test_parameters(arguments, count):
    assert sum(p.numel() for p in TripletAttention(64, **arguments).parameters()) == count


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 4"):
        TripletAttention(64, kernel_size=4)
