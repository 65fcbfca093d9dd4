import math

import pytest
import torch
from torch import nn

from stitchwork.blocks.external_attention import ExternalAttention


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = ExternalAttention(4, slots=3).double().eval()
    nn.init.normal_(block.memory_value)
    nn.init.uniform_(block.norm.running_mean, -0.5, 0.5)
    nn.init.uniform_(block.norm.running_var, 0.5, 1.5)
    return block


@pytest.fixture
def x():
    return torch.randn(2, 4, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_equals_the_equations(block, x):
    """One matrix after the other, and the two normalisations in plain Python."""
    for image, y in zip(x, block(x)):
        f = block.embed(image[None])[0].flatten(1)  # (C, N)
        logits = (block.memory_key @ f).tolist()  # [slot][pixel]
        over_pixels = [[math.exp(a) / sum(map(math.exp, row)) for a in row] for row in logits]
        sums = [sum(row[n] for row in over_pixels) for n in range(10)]
        attention = torch.tensor([[a / (1e-9 + s) for a, s in zip(row, sums)] for row in over_pixels]).double()
        found = block.project.weight.flatten(1) @ (block.memory_value @ attention)
        expected = torch.relu(image + block.norm(found.reshape(1, 4, 2, 5))[0])
        torch.testing.assert_close(y, expected)


def test_memory_of_equal_slots_is_one_answer(block, x):
    """The weights of a pixel sum to one: where all slots hold the same, every pixel reads just that."""
    block.memory_value.data = block.memory_value.data[:, :1].expand(-1, 3).clone()
    block.norm = nn.Identity()
    answer = block.project.weight.flatten(1) @ block.memory_value[:, 0]
    torch.testing.assert_close(block(x), torch.relu(x + answer[:, None, None]), rtol=1e-6, atol=1e-6)


def test_every_slot_is_shared_out_among_the_pixels(block, x):
    seen = []
    block.softmax.register_forward_hook(lambda module, inputs, output: seen.append(output))
    block(x)
    assert seen[0].shape == (2, 3, 10)
    torch.testing.assert_close(seen[0].sum(2), torch.ones(2, 3).double())


def test_pixels_without_any_weight():
    """Two opposite outliers win all slots; the others' weights are exactly 0, which is no 0/0."""
    torch.manual_seed(0)
    block, x = ExternalAttention(16).eval(), torch.randn(1, 16, 4, 4)
    x[..., 0, 0] *= 1e6
    x[..., 3, 3] = -x[..., 0, 0]
    assert block(x).isfinite().all()


def test_memories_start_alike_and_part():
    torch.manual_seed(0)
    block = ExternalAttention(8, slots=5)
    assert torch.equal(block.memory_value, block.memory_key.mT)
    block.memory_key.data += 1
    assert not torch.isclose(block.memory_value, block.memory_key.mT).any()


@pytest.mark.parametrize(("dim", "slots"), [(64, 64), (24, 7)])
def test_parameters(dim, slots):
    count = sum(p.numel() for p in ExternalAttention(dim, slots).parameters())
    assert count == 2 * dim**2 + 2 * slots * dim + 3 * dim
