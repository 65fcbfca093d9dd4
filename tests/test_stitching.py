"""Blocks in networks: every image block, in our networks, timm's, torchvision's and one written here."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from contract.probes import awaken
from safetensors.torch import load_file, save_file
from torch import nn

import stitchwork
from stitchwork import stitch, stitches, unstitch

# What a block needs beyond the channel count at a place of a network, where its default fits none.
ARGUMENTS = {"msda": {"dilation": (1, 2), "num_heads": 2}}


class Homemade(nn.Module):
    """A network as a user writes it: functional pieces, a skip connection, a part that is asked for its attributes."""

    def __init__(self, width: int = 192, depth: int = 60):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=4, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(depth))
        self.unused = nn.Conv2d(width, width, 1)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for layer in self.body:
            x = x + 0.1 * torch.tanh(layer(x)) / layer.out_channels
        return self.head(self.norm(x.permute(0, 2, 3, 1)).mean((1, 2)))


def timms(name):
    def build():
        import timm

        return timm.create_model(name, num_classes=5)

    return build


def torchvisions():
    import torchvision

    return torchvision.models.mobilenet_v3_large(num_classes=5)


def ours():
    return stitchwork.create_model("resnet18", num_classes=5)


# Each network with a glob for plenty of places.
NETWORKS = {
    "timm's resnet50": (timms("resnet50"), "layer*.*.conv*"),
    "timm's convnext_tiny": (timms("convnext_tiny"), "stages.*.blocks.*.conv_dw"),
    "torchvision's mobilenet_v3_large": (torchvisions, "features.*.block.*"),
    "our resnet18": (ours, "layer*.*.conv*"),
    "a homemade network": (Homemade, "body.*"),
}
BLOCKS = stitchwork.list_blocks(layout="image")
IMAGES = (2, 3, 64, 96)


def images():
    return torch.randn(IMAGES, generator=torch.Generator().manual_seed(0))


def stitched_with_all(build, at):
    """Networks that between them have every image block somewhere, each block at a place that suits it."""
    torch.manual_seed(0)
    model, left, networks = build(), list(BLOCKS), []
    places = stitchwork.stitching.matching_paths(model, at)
    while left:
        network, inserted = model, []
        for place in places:
            for name in [n for n in left if n not in inserted]:
                try:
                    network = stitch(
                        network,
                        name,
                        at=place,
                        input_size=IMAGES[1:],
                        inplace=network is not model,
                        **ARGUMENTS.get(name, {}),
                    )
                except ValueError:  # too few channels, or not a multiple of what it needs: another place
                    continue
                inserted.append(name)
                break
        assert inserted, f"no place of the network suits {left}"
        left = [name for name in left if name not in inserted]
        networks.append((network, inserted))
    return networks


@pytest.mark.parametrize("label", NETWORKS)
def test_every_block_in_every_network(label, tmp_path):
    """Forward, backward, save and load, export."""
    build, at = NETWORKS[label]
    for network, inserted in stitched_with_all(build, at):
        assert len(stitches(network)) == len(inserted)
        awaken(network)  # some networks start with branches at zero
        network.train()(images()).sum().backward()
        dead = [
            path
            for path, part in network.named_modules()
            if isinstance(part, stitchwork.stitching.Stitch)
            and any(True for _ in part.block.parameters())
            and not any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.block.parameters())
        ]
        assert not dead, f"blocks that training does not reach: {dead}"

        network.eval()
        fresh = copy.deepcopy(network)
        with torch.no_grad():
            for p in fresh.parameters():
                p.zero_()
            save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "w.safetensors")
            fresh.load_state_dict(load_file(tmp_path / "w.safetensors"))
            expected = network(images())
            assert torch.equal(fresh(images()), expected)
            program = torch.export.export(network, (images(),), strict=False)
            torch.testing.assert_close(program.module()(images()), expected, rtol=1e-4, atol=1e-4)


def test_the_original_is_left_alone_and_comes_back():
    model = ours().train()
    model.bn_stays = model.layer1[0].conv1.norm.eval()
    before = copy.deepcopy(model.state_dict())
    stitched = stitch(model, "cbam", at="layer*.*.conv2")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert model.training and not model.layer1[0].conv1.norm.training
    assert not any(isinstance(m, stitchwork.stitching.Stitch) for m in model.modules())
    back = unstitch(stitched)
    assert list(back.state_dict()) == list(before)
    assert all(torch.equal(before[k], v) for k, v in back.state_dict().items())
    assert len(stitches(stitched)) == 8, "unstitch has changed the stitched network"


def test_in_place():
    model = ours()
    assert stitch(model, "se", at="layer1.0.conv2", inplace=True) is model
    assert len(stitches(model)) == 1
    assert unstitch(model, inplace=True) is model
    assert not stitches(model)


@pytest.mark.parametrize("name", BLOCKS)
def test_identity_changes_no_logit_until_it_learns(name):
    torch.manual_seed(0)
    model = Homemade(depth=2).double().eval()
    stitched = stitch(model, name, at="body.1", identity=True, input_size=IMAGES[1:])
    x = images().double()
    assert torch.equal(stitched(x), model(x))
    block = {n: p for n, p in stitched.body[1].named_parameters() if "host" not in n}
    optimiser = torch.optim.SGD(block.values(), lr=0.1)
    stitched(x).square().sum().backward()
    learning = [n for n, p in block.items() if p.grad.abs().sum() > 0]
    assert learning, "nothing would ever move the block away from the identity"
    optimiser.step()
    assert not torch.equal(stitched(x), model(x))


def test_no_second_gain_where_a_block_has_one():
    stitched = stitch(Homemade(), "danet_position", at="body.1", identity=True)
    assert stitched.body[1].gain is None
    assert stitch(Homemade(), "se", at="body.1", identity=True).body[1].gain.item() == 0


def test_after_before_and_in_the_place_of():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)).eval()
    x = images()
    for where in ("after", "before", "replace"):
        stitched = stitch(model, "se", at="2", where=where)
        block, hidden = stitched[2].block, model[1](model[0](x))
        if where == "after":
            expected = block(model[2](hidden))
        elif where == "before":
            expected = model[2](block(hidden))
        else:
            expected = block(hidden)
        torch.testing.assert_close(stitched(x), expected)
        torch.testing.assert_close(unstitch(stitched)(x), model(x))


def test_what_is_replaced_is_gone_from_the_weights():
    model = Homemade()
    stitched = stitch(model, "depthwise_separable_conv", at="body.*", where="replace")
    assert "body.0.block.depthwise.conv.weight" in stitched.state_dict()
    assert not any(key.startswith("body") and "block" not in key for key in stitched.state_dict())
    assert stitches(stitched)[0].parameters == 192 * 9 + 192 * 192 + 4 * 192 - (192 * 9 + 192)


def test_the_report_counts():
    model = ours()
    stitched = stitch(model, "se", at="layer1.*.conv2", input_size=(3, 96, 64))
    report = stitches(stitched)
    added = sum(p.numel() for p in stitched.parameters()) - sum(p.numel() for p in model.parameters())
    assert sum(record.parameters for record in report) == added
    assert [record.path for record in report] == ["layer1.0.conv2", "layer1.1.conv2"]
    assert report[0].shape == (64, 24, 16) and report[0].multiply_adds == 2 * 64 * 4
    assert re.search(r"layer1\.0\.conv2 +after +SqueezeExcitation +64×24×16 +\+580 +\+512", str(report))
    assert "2 in all" in str(report)


def test_a_network_may_overwrite_what_a_block_returns():
    """ResNet adds in place; a block that ends with a ReLU needs its output for the gradient."""
    stitched = stitch(ours(), lambda dim: nn.Sequential(nn.Conv2d(dim, dim, 1), nn.ReLU()), at="layer*.*.conv2")
    stitched(images()).sum().backward()


def test_twice_in_one_place():
    model = ours().eval()
    twice = stitch(stitch(model, "se", at="layer2.0.conv2"), "cbam", at="layer2.0.conv2")
    assert [record.block for record in stitches(twice)] == ["CBAM", "SqueezeExcitation"]
    torch.testing.assert_close(unstitch(twice)(images()), model(images()))


def test_nested_places():
    stitched = stitch(ours(), "se", at="layer1**")
    paths = {record.path for record in stitches(stitched)}
    assert {"layer1", "layer1.0", "layer1.0.conv1.conv"} <= paths
    assert stitched(images()).shape == (2, 5)


def test_a_block_of_ones_own():
    stitched = stitch(ours(), lambda dim: nn.Conv2d(dim, dim, 1), at="layer3")
    assert stitches(stitched)[0].block == "Conv2d" and stitched.layer3.block.in_channels == 256


def test_it_compiles():
    stitched = stitch(ours(), "coord_attention", at="layer*", identity=True).eval()
    compiled = torch.compile(stitched, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images()), stitched(images()))


def test_it_takes_the_type_of_the_network():
    stitched = stitch(ours().double(), "cbam", at="layer1", identity=True)
    assert {p.dtype for p in stitched.parameters()} == {torch.float64}


def channels_last_network():
    import timm

    return timm.create_model("swin_tiny_patch4_window7_224")


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (ours, {"at": "layr1"}, r"no module of ResNet matches 'layr1'; did you mean layer1"),
        (ours, {"at": "head"}, r"^head: a block needs \(B, C, H, W\), but shape \(1, 5\) passes here"),
        (Homemade, {"at": "norm"}, r"^norm: gives shape \(1, 16, 16, 192\) for an image of 64×64 .* channels-last"),
        (
            channels_last_network,
            {"at": "layers.1.blocks.0"},
            r"^layers\.1\.blocks\.0: .*\(1, 28, 28, 192\).*channels-last",
        ),
        (Homemade, {"at": "unused"}, r"^unused: not called in a forward pass"),
        (ours, {"at": "layer2.0", "where": "replace"}, r"^layer2\.0: the block turns .* is needed: use where='after'"),
        (ours, {"at": "layer1", "where": "beside"}, r"where must be one of 'after', 'before', 'replace'; got 'beside'"),
        (ours, {"at": "layer1", "where": "replace", "identity": True}, r"identity=True needs the host's output"),
        (ours, {"at": "layer1", "input_size": (64, 64)}, r"input_size must be \(C, H, W\); got \(64, 64\)"),
        (ours, {"at": "layer1", "input_size": (4, 64, 64)}, r"cannot be run on an image of 4×64×64 .* give input_size"),
        (ours, {"at": "layer1", "block": "resnet18"}, r"'resnet18' is no block for images"),
        (ours, {"at": "layer1", "block": "sse"}, r"'sse'"),
        (ours, {"at": "layer1", "reduction": 0}, r"^layer1: .*reduction must be greater than 0; got 0"),
    ],
)
def test_refusals(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        stitch(build(), **{"block": "se", **arguments})


def test_nothing_to_take_out():
    with pytest.raises(ValueError, match="nothing is stitched into this ResNet"):
        unstitch(ours())
