"""Parameters and multiply-adds are the published networks', to the last one; facts in published.json."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import stitchwork
from stitchwork.analysis import count_multiply_adds, count_parameters

from .test_siblings import SIBLINGS

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text("utf-8"))


def products_that_look_up_a_bias(network: nn.Module) -> int:
    """timm reads MaxViT's tables of 13 x 13 relative positions by products with matrices of zeros and ones."""
    attentions = [part for part in network.modules() if type(part).__name__ == "PartitionAttention"]
    heads = sum(part.table.shape[0] for part in attentions)
    return heads * (7 * 7 * 13 * 13 + 7 * 7 * 7 * 7 * 13)


def sums_over_neighbours(network: nn.Module) -> int:
    """DilateFormer's logits and sums over 9 neighbours, elementwise products in our code, at 56 x 56 and 28 x 28."""
    stages = zip((56 * 56, 28 * 28), network.pyramid_channels, network.stages)
    return sum(len(stage.blocks) * 2 * 9 * pixels * dim for pixels, dim, stage in stages)


def projected_as_a_map(network: nn.Module) -> int:
    """DeepLabV3 spreads the mean of the image over all pixels, 28 x 28, and projects each; ours projects it once."""
    return (28 * 28 - 1) * 256 * 256


# Family: the multiply-adds of the published number that do the same otherwise here.
DONE_OTHERWISE = {
    "maxvit": products_that_look_up_a_bias,
    "deeplabv3": projected_as_a_map,
    "dilateformer": sums_over_neighbours,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_network(name):
    facts = PUBLISHED[name]
    with torch.device("meta"):
        network = stitchwork.create_model(name)
    assert count_parameters(network) == facts["n_params"]
    done_otherwise = DONE_OTHERWISE.get(name.partition("_")[0], lambda network: 0)
    assert count_multiply_adds(network, input_size=facts["input"]) + done_otherwise(network) == facts["macs"]


def test_every_network_has_its_published_counts():
    assert set(stitchwork.list_models()) == set(PUBLISHED) | SIBLINGS.keys()
