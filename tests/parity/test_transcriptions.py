"""Every block computes what its equations say, at any size: the plain form with the same parameters agrees.

So do the networks that have one.
"""

from functools import partial

import pytest
import torch
from contract.probes import assert_same, exact, noise, settle
from contract.subjects import Subject

import stitchwork
from stitchwork.transcriptions import transcribe, transcriptions

SIZES = [(14, 14), (9, 12), (7, 5)]
ENTRIES = [stitchwork.describe(name) for name in transcriptions()]
NETWORKS = ("evit_unet_s0", "seaformer_tiny_seg", "seaformer_large_seg")  # the last has a third gate


def test_every_block_has_one():
    assert {entry.name for entry in ENTRIES if entry.kind == "block"} == set(stitchwork.list_blocks())


def test_every_plain_network_is_compared():
    classes = {name: transcriptions()[name] for name in (e.name for e in ENTRIES if e.kind == "model")}
    assert set(classes.values()) == {classes[name] for name in NETWORKS}


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("name", [e.name for e in ENTRIES if e.kind == "block" and e.layout == "image"])
def test_plain_form_agrees(name, size):
    subject = Subject(name, "block")
    block = exact(subject.at(*size))
    x = noise((2, subject.dim, *size), dtype=torch.float64).requires_grad_()
    results = []
    for module in (block, transcribe(name, block).eval()):
        y = module(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        results.append((y, gradient))
    (ours, our_gradient), (plain, plain_gradient) = results
    assert_same(ours, plain, f"{name} against its plain form")
    assert_same(our_gradient, plain_gradient, f"the gradient of {name} against that of its plain form")


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "last"])
@pytest.mark.parametrize(("size", "num_classes"), [((224, 224), 9), ((64, 96), 9), ((32, 32), 1)])
@pytest.mark.parametrize("name", NETWORKS)
def test_plain_network_agrees(name, size, num_classes, memory_format):
    """With no number left that hides a part of it: not the scales of the branches, nor the biases of the distances."""
    network = exact(partial(Subject(name, "model").build, num_classes=num_classes)).to(memory_format=memory_format)
    x = noise((2, network.in_chans, *size), dtype=torch.float64).contiguous(memory_format=memory_format)
    settle(network, x)
    with torch.no_grad():
        ours, plain = network(x), transcribe(name, network).eval()(x)
    assert ours.std() > 0.01
    assert_same(ours, plain, f"{name} against its plain form")
