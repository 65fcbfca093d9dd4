import subprocess
import sys
import types

import pytest
from torch import nn

import stitchwork
from stitchwork.registry import collect


def module(name, **constants):
    made = types.ModuleType(name)
    vars(made).update({"PAPER": "author2020word", "CHAPTER": "01_word", "BLOCKS": {}, "REFERENCES": {}} | constants)
    return made


def test_collect():
    first = module(
        "house.b", BLOCKS={"beta": nn.ReLU, "alpha": nn.Tanh}, REFERENCES={"beta": ["timm:beta"], "alpha": ()}
    )
    entries = collect("block", [first])
    assert list(entries) == ["alpha", "beta"]
    beta = entries["beta"]
    assert (beta.kind, beta.build, beta.paper, beta.chapter) == ("block", nn.ReLU, "author2020word", "01_word")
    assert (beta.references, beta.module) == (("timm:beta",), "house.b")


def test_duplicates_are_refused():
    twins = [module(f"house.{n}", BLOCKS={"gate": nn.ReLU}, REFERENCES={"gate": ()}) for n in ("first", "second")]
    with pytest.raises(ValueError, match=r"'gate' is declared by house\.first and by house\.second"):
        collect("block", twins)


def test_references_are_required():
    with pytest.raises(ValueError, match=r"house\.first\.REFERENCES lacks 'gate'"):
        collect("block", [module("house.first", BLOCKS={"gate": nn.ReLU})])


@pytest.mark.parametrize(
    ("create", "name", "advice"),
    [
        (lambda name: stitchwork.create_model(name), "resnet5", "did you mean 'resnet"),
        (lambda name: stitchwork.create_model(name), "mobilenetv2", "did you mean .*'mobilenet_v2'"),
        (lambda name: stitchwork.create_block(name, 8), "coordattention", "did you mean 'coord_attention'"),
        (lambda name: stitchwork.create_block(name, 8), "zzz", r"list_blocks\(\) has all names"),
        (lambda name: stitchwork.create_model(name), "zzz", r"list_models\(\) has all names"),
        (stitchwork.describe, "resnet500", "did you mean"),
    ],
)
def test_unknown_name(create, name, advice):
    with pytest.raises(ValueError, match=f"'{name}'; {advice}"):
        create(name)


def test_wrong_kind():
    with pytest.raises(ValueError, match="'resnet50' is a model: build it with create_model"):
        stitchwork.create_block("resnet50", 64)
    with pytest.raises(ValueError, match="'se' is a block: build it with create_block"):
        stitchwork.create_model("se")


def test_lists():
    assert stitchwork.list_models("resnet*") == [
        "resnet101", "resnet152", "resnet18", "resnet34", "resnet50", "resnet50_deep_stem",
    ]  # fmt: skip
    assert stitchwork.list_blocks("c*_attention") == ["clo_attention", "coord_attention", "crossformer_attention"]
    assert stitchwork.list_blocks(layout="sequence") == ["pyramidal_attention"]
    assert stitchwork.list_models("zzz*") == []
    assert not set(stitchwork.list_models()) & set(stitchwork.list_blocks())


def test_describe():
    entry = stitchwork.describe("resnext50_32x4d")
    assert entry.kind == "model" and entry.module == "stitchwork.models.resnet"
    assert entry.constructor.__name__ == "ResNet"  # through two partials
    assert stitchwork.describe("se").constructor.__name__ == "SqueezeExcitation"


def test_arguments_reach_the_constructor():
    assert stitchwork.create_model("mobilenet_v2_035", 7, 4, dropout=0.4).dropout == 0.4
    assert stitchwork.create_model("mobilenet_v2_035").num_classes == 1000
    assert stitchwork.create_model("mobilenet_v2_035", num_classes=0).num_classes == 0
    assert stitchwork.create_block("se", 64, reduction=8).squeeze.out_channels == 8


def test_import_is_light():
    """The plain import needs torch and einops alone, and less than a second beyond torch's own."""
    program = (
        "import sys, time, torch\n"
        "before = set(sys.modules); start = time.process_time()\n"
        "import stitchwork; stitchwork.list_models(); stitchwork.list_blocks()\n"
        "print(time.process_time() - start, *{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    seconds, *imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    foreign = set(imported) - set(sys.stdlib_module_names) - {"stitchwork", "torch", "einops"}
    assert not foreign
    assert float(seconds) < 1
