import pytest
import torch
from torch import nn

from stitchwork.layers import Mlp, SelfAttention, TransformerBlock


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(("dim", "num_heads", "hidden", "tokens"), [(8, 1, 32, 5), (12, 3, 20, 1), (24, 4, 24, 37)])
def test_is_torchs(dim, num_heads, hidden, tokens):
    """torch.nn.TransformerEncoderLayer with the norms first and the exact GELU, and its weights in ours."""
    theirs = nn.TransformerEncoderLayer(
        dim, num_heads, hidden, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).double()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    ours = TransformerBlock(dim, SelfAttention(dim, num_heads), Mlp(dim, hidden)).double()
    names = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj": "attn.proj"}
    names |= {"linear1": "mlp.fc1", "linear2": "mlp.fc2"}
    state = theirs.state_dict()
    for old, new in names.items():
        state = {path.replace(old, new): tensor for path, tensor in state.items()}
    ours.load_state_dict(state)
    x = torch.randn(2, tokens, dim, dtype=torch.double)
    torch.testing.assert_close(ours(x), theirs(x))


def test_branches_that_say_nothing_leave_the_tokens_alone():
    block, x = TransformerBlock(8, SelfAttention(8, 2), Mlp(8, 8)), torch.randn(2, 5, 8)
    for layer in (block.attn.proj, block.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    assert torch.equal(block(x), x)


def test_each_branch_has_its_norm():
    """With branches that return what they are given: x + LN1(x), then that + LN2(of it)."""
    block, x = TransformerBlock(8, nn.Identity(), nn.Identity()), 5 + 3 * torch.randn(2, 5, 8)
    nn.init.constant_(block.norm2.weight, 2.0)
    y = x + nn.functional.layer_norm(x, (8,), eps=1e-6)
    torch.testing.assert_close(block(x), y + 2 * nn.functional.layer_norm(y, (8,), eps=1e-6))


@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_eps(eps):
    block = TransformerBlock(2, nn.Identity(), nn.Identity(), eps=eps).double()
    x = torch.tensor([[-1.0, 1.0]]).double()
    first = 1 + (1 + eps) ** -0.5
    torch.testing.assert_close(block(x)[0, 1].item(), first + first / (first**2 + eps) ** 0.5)


def test_any_axes_between():
    block, x = TransformerBlock(8, nn.Identity(), Mlp(8, 8)), torch.randn(2, 3, 4, 8)
    torch.testing.assert_close(block(x).flatten(1, 2), block(x.flatten(1, 2)))


def test_drop_path_takes_a_branch_from_an_image():
    """In training an image keeps a branch, doubled, or loses it; in evaluation all is kept."""
    block, x = TransformerBlock(4, nn.Identity(), nn.Identity(), drop_path=0.5), torch.randn(1, 3, 4).expand(200, 3, 4)
    block.norm2.weight.data.zero_()  # the second branch adds nothing
    change = (block(x) - x)[:, 0, 0]
    kept = 2 * nn.functional.layer_norm(x[0], (4,), eps=1e-6)[0, 0]
    lost = change.abs() < 1e-6
    assert torch.allclose(change[~lost], kept) and 0.35 < lost.float().mean() < 0.65
    block.eval()
    torch.testing.assert_close(block(x), x + nn.functional.layer_norm(x, (4,), eps=1e-6))
