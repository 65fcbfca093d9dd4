"""Every block computes what its equations say, at any size: the plain form with the same parameters agrees."""

import pytest
import torch
from contract.probes import assert_same, exact, noise
from contract.subjects import Subject

import stitchwork
from stitchwork.transcriptions import transcribe, transcriptions

SIZES = [(14, 14), (9, 12), (7, 5)]


def test_every_block_has_one():
    assert set(transcriptions()) == set(stitchwork.list_blocks())


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("name", [n for n in transcriptions() if stitchwork.describe(n).layout == "image"])
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
