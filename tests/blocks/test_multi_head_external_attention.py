import pytest
import torch

from stitchwork.blocks.multi_head_external_attention import MultiHeadExternalAttention


@pytest.fixture
def block():
    torch.manual_seed(0)
    return MultiHeadExternalAttention(4, num_heads=2, slots=3).double()


@pytest.fixture
def x():
    return torch.randn(2, 4, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_equals_the_equations(block, x):
    """Eight heads of two channels, pixel by pixel and slot by slot."""
    key, value = block.memory_key, block.memory_value
    for image, y in zip(x, block(x)):
        wide = block.embed(image[None])[0].flatten(1)  # (16, N)
        found = []
        for head in wide.split(2):
            logits = key.weight[..., 0] @ head + key.bias[:, None]  # (S, N)
            attention = torch.stack([row.exp() / row.exp().sum() for row in logits])
            attention = torch.stack([column / (1e-9 + column.sum()) for column in attention.T], 1)
            found.append(value.weight[..., 0] @ attention + value.bias[:, None])
        torch.testing.assert_close(y, block.project(torch.cat(found).reshape(1, 16, 2, 3))[0])


def test_heads_share_the_memory(block, x):
    """Heads that hold the same find the same."""
    block.embed.weight.data[2:4] = block.embed.weight.data[:2]
    block.embed.bias.data[2:4] = block.embed.bias.data[:2]
    seen = []
    block.project.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    block(x)
    torch.testing.assert_close(seen[0][:, 2:4], seen[0][:, :2])
    assert not torch.allclose(seen[0][:, 4:6], seen[0][:, :2], rtol=1e-2)


def test_every_slot_is_shared_out_among_the_pixels(block, x):
    seen = []
    block.softmax.register_forward_hook(lambda module, inputs, output: seen.append(output))
    block(x)
    assert len(seen) == 8 and seen[0].shape == (2, 3, 6)
    torch.testing.assert_close(seen[0].sum(2), torch.ones(2, 3).double())


@pytest.mark.parametrize(("dim", "num_heads", "slots"), [(64, 8, 64), (24, 3, 10)])
def test_parameters(dim, num_heads, slots):
    width = dim // num_heads
    count = sum(p.numel() for p in MultiHeadExternalAttention(dim, num_heads, slots).parameters())
    assert count == 8 * dim**2 + 5 * dim + 2 * slots * width + slots + width


def test_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="dim must be a multiple of num_heads=8; got dim=20"):
        MultiHeadExternalAttention(20)
