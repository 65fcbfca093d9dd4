"""Every network is proved equal to a published one, and no published one is left out."""

import re
from collections import defaultdict

import pytest
import timm
import torch
import torchvision
from torch import nn

import stitchwork
from stitchwork.analysis import count_parameters
from stitchwork.weights import rename

from .test_blocks import RECORDED
from .test_counted_networks import FACTS
from .test_networks import PAIRS
from .test_published_counts import PUBLISHED
from .test_siblings import SIBLINGS

NETWORKS = stitchwork.list_models()
PROVED = {name for name, _ in PAIRS + RECORDED if name in NETWORKS}
LARGEST = ("convnext_xlarge", "efficientnet_b7", "efficientnet_v2_l", "repvgg_b3", "unireplknet_s")

# Families of timm whose names have ours in them: FocalNets modulate and have no attention; PVTv2 and Twins are not PVT.
OTHER_FAMILIES = ("focalnet", "pvtv2", "twins")
# Networks of the same name that are not a reference of ours: why not.
EPSILON = "its BatchNorms have eps 1e-5 where the published ones have 1e-3; an argument of ours gives it"
LEFT_OUT = {
    ("efficientnet_b5", "timm:efficientnet_b5"): EPSILON,
    ("efficientnet_b6", "timm:efficientnet_b6"): EPSILON,
    ("efficientnet_b7", "timm:efficientnet_b7"): EPSILON,
    ("efficientnet_v2_s", "timm:efficientnetv2_s"): EPSILON,
    ("efficientnet_v2_m", "timm:efficientnetv2_m"): EPSILON,
    ("efficientnet_v2_l", "timm:efficientnetv2_l"): EPSILON,
    ("mobilenet_v3_large", "timm:mobilenetv3_large_100"): EPSILON,
    ("mobilenet_v3_small", "timm:mobilenetv3_small_100"): EPSILON,
}


def plain(name: str) -> str:
    """Without what the libraries write differently: underscores, and timm's endings for the usual size."""
    return re.sub(r"(_100|_224|_patch(14|16|32)_224)$", "", name).replace("_", "")


def same_name() -> set[tuple[str, str]]:
    """Pairs of a network of ours and one of a library that is called the same."""
    found = defaultdict(list)
    for theirs in timm.list_models():
        for spelling in {plain(theirs), theirs.replace("_", ""), theirs.removesuffix("_224").replace("_", "")}:
            found[spelling].append(f"timm:{theirs}")
    for theirs in torchvision.models.list_models(module=torchvision.models):
        found[plain(theirs)].append(f"torchvision:{theirs}")
    return {(name, reference) for name in NETWORKS for reference in found[name.replace("_", "")]}


def family(name: str) -> str:
    return stitchwork.describe(name).module.rpartition(".")[2]


def on_meta(reference: str) -> nn.Module:
    library, name = reference.split(":")
    with torch.device("meta"):
        return timm.create_model(name) if library == "timm" else torchvision.models.get_model(name)


def core(name: str) -> type[nn.Module]:
    """The class of a network; of one that puts a head on an encoder, that of the encoder."""
    with torch.device("meta"):
        network = stitchwork.create_model(name)
    return type(getattr(network, "encoder", network))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_reference_that_is_tested(name):
    """Equal logits or an equal fingerprint; or its published counts and structure, with a relative that is equal.

    A sibling is a size of our own of a network that is equal, and says of which.
    """
    if name in PROVED:
        return
    entry = stitchwork.describe(name)
    if name in SIBLINGS:
        (other,) = (reference.removeprefix("sibling:") for reference in entry.references)
        assert other in PROVED and core(other) is core(name)
        return
    assert entry.references == (f"counted:{name}",)
    assert name in PUBLISHED, f"{name} has no published counts"
    assert name in FACTS, f"{name} is only counted, and its structure is not checked"
    relatives = [other for other in PROVED if family(other) == family(name)]
    assert relatives, f"neither {name} nor another network of its family is proved equal to anything"
    assert {core(other) for other in relatives} == {core(name)}


def test_every_one_of_the_largest_is_among_them():
    for name in LARGEST:
        assert name in PUBLISHED and (name in PROVED or name in FACTS), name
    with torch.device("meta"):
        sizes = {name: count_parameters(stitchwork.create_model(name)) for name in LARGEST}
    assert sizes == {name: PUBLISHED[name]["n_params"] for name in LARGEST}
    for name in LARGEST:
        others = [other for other in NETWORKS if family(other) == family(name)]
        assert sizes[name] == max(PUBLISHED[other]["n_params"] for other in others), f"{name} is not the largest"


def test_every_network_of_the_same_name_is_a_reference():
    references = {(name, reference) for name in NETWORKS for reference in stitchwork.describe(name).references}
    assert same_name() - references == LEFT_OUT.keys()


def test_every_family_that_timm_has_is_here():
    with_timm = {family(name) for name, reference in [*PAIRS, *LEFT_OUT] if reference.startswith("timm:")}
    theirs = [name.replace("_", "") for name in timm.list_models()]
    for ours in {family(name) for name in NETWORKS} - with_timm:
        found = [name for name in theirs if ours.replace("_", "") in name and not name.startswith(OTHER_FAMILIES)]
        assert not found, f"timm has {found}, and {ours} is compared with none of them"


@pytest.mark.parametrize(("name", "reference"), LEFT_OUT)
def test_weights_of_those_left_out_fit_and_the_reason_holds(name, reference):
    theirs = on_meta(reference)
    with torch.device("meta"):
        ours = stitchwork.create_model(name)
    renamed = rename(name, reference.split(":")[0], theirs.state_dict())
    wanted = {key: [size for size in tensor.shape if size > 1] for key, tensor in ours.state_dict().items()}
    assert {key: [size for size in tensor.shape if size > 1] for key, tensor in renamed.items()} == wanted
    assert {norm.eps for norm in theirs.modules() if isinstance(norm, nn.BatchNorm2d)} == {1e-5}
    assert {norm.eps for norm in ours.modules() if isinstance(norm, nn.BatchNorm2d)} == {1e-3}
