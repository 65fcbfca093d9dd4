"""Names, loading, and what is refused. Equal outputs with the libraries' networks are shown in tests/parity."""

import builtins

import pytest
import torch
from torch import nn

import stitchwork
from stitchwork import weights
from stitchwork.weights import (
    load_published,
    load_safetensors,
    load_state_dict_from,
    rename,
    save_safetensors,
)
from stitchwork.weights.names import rules

SMALL = {"width_multiplier": 0.25, "num_classes": 7}


def small(**kwargs) -> nn.Module:
    return stitchwork.create_model("mobilenet_v1", **(SMALL | kwargs))


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(before[key].equal(tensor) for key, tensor in model.state_dict().items())


def in_timms_names(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state_dict of a MobileNetV1 as timm would name it, made by hand and not by the rules under test."""
    words = {"stem.conv": "conv_stem", "stem.norm": "bn1", "head": "classifier", "stages": "blocks"}
    words |= {
        "depthwise.conv": "conv_dw",
        "depthwise.norm": "bn1",
        "pointwise.conv": "conv_pw",
        "pointwise.norm": "bn2",
    }
    renamed = {}
    for key, tensor in snapshot(model).items():
        for ours, theirs in words.items():
            key = key.replace(ours, theirs)
        renamed[key] = tensor
    return renamed


@pytest.mark.parametrize(
    ("name", "source", "theirs", "ours"),
    [
        ("mobilenet_v1", "timm", "conv_stem.weight", "stem.conv.weight"),
        ("mobilenet_v1", "timm", "blocks.3.5.bn2.running_var", "stages.3.5.pointwise.norm.running_var"),
        ("mobilenet_v2", "timm", "blocks.0.0.conv_pw.weight", "stages.0.0.project.conv.weight"),
        ("mobilenet_v2", "timm", "blocks.1.0.conv_pw.weight", "stages.1.0.expand.conv.weight"),
        ("mobilenet_v2", "timm", "blocks.6.0.bn3.bias", "stages.6.0.project.norm.bias"),
        ("mobilenet_v2", "timm", "bn2.num_batches_tracked", "last.norm.num_batches_tracked"),
        ("mobilenet_v2", "torchvision", "features.1.conv.0.0.weight", "stages.0.0.depthwise.conv.weight"),
        ("mobilenet_v2", "torchvision", "features.1.conv.2.bias", "stages.0.0.project.norm.bias"),
        ("mobilenet_v2", "torchvision", "features.2.conv.0.0.weight", "stages.1.0.expand.conv.weight"),
        ("mobilenet_v2", "torchvision", "features.17.conv.3.bias", "stages.6.0.project.norm.bias"),
        ("mobilenet_v2", "torchvision", "features.18.1.weight", "last.norm.weight"),
        ("mobilenet_v2", "torchvision", "classifier.1.bias", "head.bias"),
        ("resnet18", "torchvision", "bn1.running_mean", "stem.norm.running_mean"),
        ("resnet152", "timm", "layer3.35.conv3.weight", "layer3.35.conv3.conv.weight"),
        ("resnet50", "timm", "layer2.0.downsample.1.bias", "layer2.0.shortcut.norm.bias"),
        ("resnet50", "torchvision", "fc.weight", "head.weight"),
    ],
)
def test_rename(name, source, theirs, ours):
    tensor = torch.zeros(1)
    renamed = rename(name, source, {theirs: tensor})
    assert list(renamed) == [ours] and renamed[ours] is tensor


def test_rename_knows_the_deep_stem_by_its_second_convolution():
    theirs = ["conv1.0.weight", "conv1.1.bias", "conv1.3.weight", "conv1.4.bias", "conv1.6.weight", "bn1.bias"]
    ours = ["0.conv.weight", "0.norm.bias", "1.conv.weight", "1.norm.bias", "2.conv.weight", "2.norm.bias"]
    renamed = rename("resnet50_deep_stem", "timm", dict.fromkeys(theirs, torch.zeros(1)))
    assert list(renamed) == [f"stem.{key}" for key in ours]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet19", "timm"), "no model named 'resnet19'"),
        (("resnet18", "keras"), "'timm' or 'torchvision'; got 'keras'"),
        (("mobilenet_v1", "torchvision"), "torchvision's mobilenet_v1: it has no such network"),
    ],
)
def test_rename_of_unknown_networks(arguments, message):
    with pytest.raises(ValueError, match=message):
        rename(*arguments, {})


def test_rename_names_the_first_tensors_that_no_rule_knows():
    strange = {f"blocks.{i}.attn.qkv.weight": torch.zeros(1) for i in range(5)}
    with pytest.raises(ValueError, match=r"blocks.0.attn.qkv.weight, .*2.attn.qkv.weight and 2 more: no such tensor"):
        rename("resnet18", "timm", strange | {"fc.weight": torch.zeros(1)})


def test_another_librarys_state_dict_is_loaded():
    torch.manual_seed(0)
    source, target = small(), small()
    load_state_dict_from(target, "mobilenet_v1", in_timms_names(source), "timm")
    assert unchanged(target, snapshot(source))


def test_batch_counters_are_loaded_but_may_be_lacking():
    source, target = small(), small()
    source.stem.norm.num_batches_tracked += 5
    theirs = in_timms_names(source)
    load_state_dict_from(target, "mobilenet_v1", theirs, "timm")
    assert target.stem.norm.num_batches_tracked == 5
    old = {key: tensor for key, tensor in theirs.items() if not key.endswith("num_batches_tracked")}
    assert len(old) < len(theirs)
    load_state_dict_from(target, "mobilenet_v1", old, "timm")
    assert unchanged(target, snapshot(target))


@pytest.mark.parametrize("num_classes", [0, 5])
def test_another_number_of_classes_leaves_the_head_fresh(num_classes):
    torch.manual_seed(0)
    source, target = small(), small(num_classes=num_classes)
    before = snapshot(target)
    load_state_dict_from(target, "mobilenet_v1", in_timms_names(source), "timm")
    loaded = snapshot(source)
    for key, tensor in target.state_dict().items():
        assert tensor.equal((before if key.startswith("head.") else loaded)[key]), key


def test_a_file_without_head_leaves_the_head_fresh(tmp_path):
    torch.manual_seed(0)
    features, target = small(num_classes=0), small()
    head = target.head.weight.clone()
    save_safetensors(features, tmp_path / "features.safetensors")
    load_safetensors(target, tmp_path / "features.safetensors")
    assert target.head.weight.equal(head)
    assert target.stem.conv.weight.equal(features.stem.conv.weight)


def broken(model: nn.Module, **changes) -> dict[str, torch.Tensor]:
    """timm's state_dict with some tensors replaced, or left out where the replacement is None."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return {key: tensor for key, tensor in (in_timms_names(model) | changes).items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bn1__bias": None}, r"MobileNetV1: it lacks stem.norm.bias$"),
        ({"classifier__bias": None}, r"it lacks head.bias$"),
        ({"bn1__bias": torch.zeros(9)}, r"it has stem.norm.bias as \(9,\) for \(8,\)$"),
        (
            {"blocks__4__2__bn1__bias": torch.zeros(1)},
            r"has stages.4.2.depthwise.norm.bias, which the network has not$",
        ),
        (
            {"bn1__bias": None, "bn1__weight": torch.zeros(9)},
            r"it lacks stem.norm.bias; has stem.norm.weight as \(9,\)",
        ),
        ({"conv_stem__weight": torch.zeros(8, 1, 3, 3)}, r"images of 1 channels.* takes 3: build it with in_chans=1"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(changes, message):
    model = small()
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        load_state_dict_from(model, "mobilenet_v1", broken(small(), **changes), "timm")
    assert unchanged(model, before)


def test_a_list_of_misfits_ends_after_the_first_few():
    with pytest.raises(ValueError, match=r"lacks stem.conv.weight, stem.norm.weight, stem.norm.bias and \d+ more"):
        load_state_dict_from(small(), "mobilenet_v1", {"classifier.bias": torch.zeros(7)}, "timm")


def test_another_width_does_not_fit():
    with pytest.raises(ValueError, match=r"has stem.conv.weight as \(8, 3, 3, 3\) for \(16, 3, 3, 3\)"):
        load_state_dict_from(small(width_multiplier=0.5), "mobilenet_v1", in_timms_names(small()), "timm")


def test_a_model_without_memory():
    with pytest.raises(ValueError, match="on the meta device"):
        load_state_dict_from(small().to("meta"), "mobilenet_v1", in_timms_names(small()), "timm")


def test_safetensors_round_trip_with_metadata(tmp_path):
    from safetensors import safe_open

    torch.manual_seed(0)
    source, target, path = small(), small(), tmp_path / "a.safetensors"
    source.to(memory_format=torch.channels_last)
    source(torch.randn(2, 3, 32, 32))  # the BatchNorms' statistics and counters are to be kept as well
    save_safetensors(source, path, name="mobilenet_v1")
    load_safetensors(target, path)
    assert unchanged(target, snapshot(source))
    assert target.stem.norm.num_batches_tracked == 1
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["name"] == "mobilenet_v1"
    assert metadata["class"] == "MobileNetV1"
    assert metadata["stitchwork"] == stitchwork.__version__
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_tied_weights_can_be_saved(tmp_path):
    linear = nn.Linear(3, 3)
    save_safetensors(nn.Sequential(linear, linear), tmp_path / "tied.safetensors")
    target = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    load_safetensors(target, tmp_path / "tied.safetensors")
    assert target[0].weight.equal(linear.weight) and target[1].weight.equal(linear.weight)


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    import safetensors.torch

    path = tmp_path / "a.safetensors"
    save_safetensors(nn.Linear(2, 2), path)
    good = path.read_bytes()

    def fail(tensors, filename, metadata):
        filename.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_safetensors(nn.Linear(2, 2), path)
    assert path.read_bytes() == good


def test_create_model_loads_a_file_and_its_head_where_it_fits(tmp_path):
    torch.manual_seed(0)
    source, path = small(), tmp_path / "a.safetensors"
    save_safetensors(source, path)
    assert unchanged(stitchwork.create_model("mobilenet_v1", **SMALL, weights=str(path)), snapshot(source))
    assert unchanged(stitchwork.create_model("mobilenet_v1", **SMALL, weights=path), snapshot(source))
    other = stitchwork.create_model("mobilenet_v1", **(SMALL | {"num_classes": 3}), weights=path)
    assert other.head.weight.shape == (3, 256)
    assert other.stem.conv.weight.equal(source.stem.conv.weight)


def test_a_file_in_another_librarys_names_is_loaded_by_its_path(tmp_path):
    from safetensors.torch import save_file

    source, target = small(), small()
    save_file(in_timms_names(source), tmp_path / "timm.safetensors")
    load_state_dict_from(target, "mobilenet_v1", tmp_path / "timm.safetensors", "timm")
    assert unchanged(target, snapshot(source))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
def test_pickles_are_never_opened(tmp_path, suffix):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was opened",))

    path = tmp_path / f"bomb{suffix}"
    torch.save(Bomb(), path)
    for attempt in (
        lambda: load_safetensors(small(), path),
        lambda: load_state_dict_from(small(), "mobilenet_v1", path, "timm"),
        lambda: stitchwork.create_model("mobilenet_v1", **SMALL, weights=path),
        lambda: save_safetensors(small(), path),
    ):
        with pytest.raises(ValueError, match=r"is a pickle.*weights_only=True"):
            attempt()


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.safetensors"):
        load_safetensors(small(), tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=r"kept in \.safetensors files; got .*a\.onnx"):
        load_safetensors(small(), tmp_path / "a.onnx")
    (tmp_path / "broken.safetensors").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=r"broken\.safetensors is not a readable \.safetensors file"):
        load_safetensors(small(), tmp_path / "broken.safetensors")


def test_create_model_with_unknown_weights():
    with pytest.raises(ValueError, match=r"'timm', 'torchvision' or the path of a \.safetensors file; got 'imagenet'"):
        stitchwork.create_model("mobilenet_v1", **SMALL, weights="imagenet")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("mobilenet_v1", "torchvision", "torchvision has no mobilenet_v1: timm has it"),
        ("mobilenet_v1", "keras", "'timm' or 'torchvision'; got 'keras'"),
        ("se", "torchvision", "torchvision has no se: timm has it"),
        ("cbam", "timm", "timm has no cbam: no library has it"),
    ],
)
def test_published_weights_that_do_not_exist(name, source, message):
    with pytest.raises(ValueError, match=message):
        load_published(nn.Identity(), name, source)


def test_a_network_that_timm_has_without_weights():
    with pytest.raises(ValueError, match="timm has the network mobilenetv2_035 but no weights for it"):
        stitchwork.create_model("mobilenet_v2_035", weights="timm")


@pytest.mark.parametrize("source", ["timm", "torchvision"])
def test_without_the_library(monkeypatch, source):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.partition(".")[0] == source:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=rf'{source} is needed for its weights: pip install "stitchwork\[weights\]"'):
        load_published(nn.Identity(), "resnet18", source)


def test_a_download_that_fails(monkeypatch):
    import timm
    from torchvision.models import ResNet18_Weights

    def fail(*args, **kwargs):
        raise RuntimeError("name resolution failed")

    model = stitchwork.create_model("resnet18", num_classes=2)
    before = snapshot(model)
    monkeypatch.setattr(timm, "create_model", fail)
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", fail)
    for source in weights.SOURCES:
        with pytest.raises(
            ConnectionError, match=r"weights of resnet18 \(RuntimeError: name resolution.*pass the path"
        ):
            load_published(model, "resnet18", source)
    assert unchanged(model, before)


def test_what_is_downloaded_is_loaded(monkeypatch):
    """The libraries' own functions, without a network: they get weights that were made here."""
    import timm
    import torchvision
    from torchvision.models import ResNet18_Weights

    torch.manual_seed(0)
    theirs = {"timm": timm.create_model("resnet18"), "torchvision": torchvision.models.resnet18()}
    asked = {}

    def create_model(name, pretrained):
        asked["timm"] = (name, pretrained)
        return theirs["timm"]

    def get_state_dict(self, **kwargs):
        asked["torchvision"] = kwargs
        return theirs["torchvision"].state_dict()

    monkeypatch.setattr(timm, "create_model", create_model)
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", get_state_dict)
    for source, network in theirs.items():
        model = stitchwork.create_model("resnet18", weights=source)
        assert model.layer4[1].conv2.conv.weight.equal(network.layer4[1].conv2.weight)
    assert asked["timm"] == ("resnet18", True)
    assert asked["torchvision"]["check_hash"] and asked["torchvision"]["weights_only"]


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("mobilenet_v3_small", "mobilenetv3_small_100"),
        ("efficientnet_b5", "efficientnet_b5"),
        ("efficientnet_b6", "tf_efficientnet_b6"),
        ("efficientnet_v2_s", "tf_efficientnetv2_s"),
    ],
)
def test_a_network_is_built_as_the_librarys_weights_need_it(name, theirs, monkeypatch):
    """timm's weights of these belong to networks with another eps or padding: ours give what theirs give."""
    import timm

    torch.manual_seed(0)
    network, x = timm.create_model(theirs).double(), torch.randn(2, 3, 64, 64).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(x)  # statistics that keep the signal alive
    network.float().double()  # numbers that loading into float32 does not round
    assert timm.is_model_pretrained(theirs)
    monkeypatch.setattr(timm, "create_model", lambda asked, pretrained: {theirs: network}[asked])
    model = stitchwork.create_model(name, weights="timm").eval().double()
    with torch.no_grad():
        expected = network.eval()(x)
        torch.testing.assert_close(model(x) / expected.std(), expected / expected.std(), atol=1e-4, rtol=0)
        other = stitchwork.create_model(name).eval().double()
        load_state_dict_from(other, name, network.state_dict(), "timm")
        assert (other(x) - expected).abs().max() > 1e-3 * expected.std(), "the argument makes no difference"


def test_every_reference_in_a_library_has_rules():
    for name in stitchwork.list_models():
        entry = stitchwork.describe(name)
        for library, _ in (reference.split(":") for reference in entry.references):
            if library in weights.SOURCES:
                assert rules(name, library), name
