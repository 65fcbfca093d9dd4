"""DeiT: what the second token costs, what both tokens read, and which head answers when."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import explicit_attention
from stitchwork.models.deit import DistilledViT

# Table 1: width, heads.
TABLE_1 = {"deit_tiny": (192, 3), "deit_small": (384, 6), "deit_base": (768, 12)}


def meta(name):
    with torch.device("meta"):
        return create_model(name)


def tiny(**arguments):
    """A network for 4 x 4 patches, none of whose weights is zero."""
    sizes = {"dim": 12, "depth": 2, "num_heads": 3, "patch_size": 4, "num_classes": 5, "image_size": 16}
    torch.manual_seed(0)
    network = DistilledViT(**{**sizes, **arguments})
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# Table 5: million parameters, without and with the distillation token; the paper cuts the former off.
@pytest.mark.parametrize(
    ("name", "plain", "distilled"), [("deit_tiny", 5, 6), ("deit_small", 22, 22), ("deit_base", 86, 87)]
)
def test_table_5(name, plain, distilled):
    assert int(count_parameters(meta(name)) / 1e6) == plain
    assert round(count_parameters(meta(f"{name}_distilled")) / 1e6) == distilled


@pytest.mark.parametrize("name", TABLE_1)
@pytest.mark.parametrize("ending", ["", "_distilled"])
def test_table_1(name, ending):
    network, (dim, heads) = meta(name + ending), TABLE_1[name]
    assert [(block.attn.qkv.in_features, block.attn.num_heads) for block in network.blocks] == [(dim, heads)] * 12


@pytest.mark.parametrize("name", TABLE_1)
def test_cost_of_the_second_token(name):
    """A start, a place and a head; in each block 12 C² multiply-adds, and attention among 198 in the place of 197."""
    dim, _ = TABLE_1[name]
    plain, distilled = meta(name), meta(f"{name}_distilled")
    assert count_parameters(distilled) - count_parameters(plain) == 2 * dim + 1000 * (dim + 1)
    cost = [count_multiply_adds(network, input_size=(1, 3, 224, 224)) for network in (plain, distilled)]
    assert cost[1] - cost[0] == 12 * (12 * dim**2 + 2 * dim * (198**2 - 197**2)) + 1000 * dim


def test_without_the_second_token_it_is_vit():
    for deit, vit in (("deit_tiny", "vit_tiny_patch16"), ("deit_base", "vit_base_patch16")):
        shapes = [[(key, value.shape) for key, value in meta(name).state_dict().items()] for name in (deit, vit)]
        assert shapes[0] == shapes[1] and type(meta(deit)) is type(meta(vit))


def test_which_head_answers_when():
    """In evaluation the mean; in training too, unless both were asked for."""
    x = noise(2, 3, 16, 16)
    for distilled_training in (False, True):
        network = tiny(distilled_training=distilled_training)
        features = network.forward_features(x)
        both = torch.stack([network.head.label(features[:, 0]), network.head.distillation(features[:, 1])], 1)
        torch.testing.assert_close(network(x), both.mean(1))
        torch.testing.assert_close(network.train()(x), both if distilled_training else both.mean(1))


def test_each_head_reads_its_own_token():
    network = tiny(distilled_training=True).train()
    features = network.forward_features(noise(1, 3, 16, 16)).detach().requires_grad_()
    for head in (0, 1):
        (gradient,) = torch.autograd.grad(network.forward_head(features)[:, head].sum(), features)
        assert gradient[0].abs().sum(1).nonzero().flatten().tolist() == [head]


def test_both_tokens_read_every_patch():
    network, x = tiny(depth=1, distilled_training=True).train(), noise(1, 3, 16, 16).requires_grad_()
    for head in (0, 1):
        (gradient,) = torch.autograd.grad(network(x)[:, head].square().sum(), x)
        assert (gradient != 0).all()


def test_the_tokens_differ_in_start_and_place_only():
    network, x = tiny(), noise(1, 3, 16, 16)
    with torch.no_grad():
        network.distillation_token.copy_(network.class_token)
        label, distillation = network.forward_features(x)[0, :2]
        assert (label - distillation).abs().max() > 1e-2
        network.positions.table[:, 1] = network.positions.table[:, 0]
        label, distillation = network.forward_features(x)[0, :2]
    torch.testing.assert_close(label, distillation)


def test_positions_of_another_size_keep_both_tokens():
    positions = tiny().positions
    places = positions.table[:, 2:].transpose(1, 2).unflatten(2, (4, 4))
    expected = F.interpolate(places, (3, 7), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    assert positions.at((3, 7))[:, :2].equal(positions.table[:, :2])
    torch.testing.assert_close(positions.at((3, 7))[:, 2:], expected)
    assert tiny()(noise(1, 3, 9, 26)).shape == (1, 5)


def test_both_forms_of_attention():
    network, x = tiny(), noise(2, 3, 20, 12)
    with explicit_attention(network):
        plain = network(x)
    torch.testing.assert_close(network(x), plain)


def test_new_heads_and_none():
    network, x = tiny(), noise(2, 3, 16, 16)
    network.reset_head(0)
    assert network(x).equal(network.forward_features(x)[:, :2].flatten(1))
    network.reset_head(7)
    assert network.double()(x).shape == (2, 7)
    assert not network.head.label.bias.any() and network.head.label.weight.std().item() == pytest.approx(0.02, rel=0.3)
    with pytest.raises(ValueError, match=r"num_classes must be 0 \(pooled features\) or more; got -1"):
        network.reset_head(-1)
