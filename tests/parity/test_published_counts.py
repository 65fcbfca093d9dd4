"""Parameters and multiply-adds are the published networks', to the last one; facts in published.json."""

import json
from pathlib import Path

import pytest
import torch

import stitchwork
from stitchwork.analysis import count_multiply_adds, count_parameters

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text("utf-8"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_network(name):
    facts = PUBLISHED[name]
    with torch.device("meta"):
        network = stitchwork.create_model(name)
    assert count_parameters(network) == facts["n_params"]
    assert count_multiply_adds(network, input_size=facts["input"]) == facts["macs"]


def test_every_network_has_its_published_counts():
    assert set(stitchwork.list_models()) == set(PUBLISHED)
