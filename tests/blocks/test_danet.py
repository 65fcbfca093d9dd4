import pytest
import torch

from stitchwork.blocks.danet import DANet


@pytest.mark.parametrize(
    ("dim", "arguments"),
    [
        (64, {}),
        (256, {"out_dim": 19, "auxiliary": True}),
        (64, {"reduction": 1}),
        (3, {}),
    ],
)
def test_parameters(dim, arguments):
    width = max(1, dim // arguments.get("reduction", 4))
    out_dim = arguments.get("out_dim", dim)
    keys = max(1, width // 8)
    convolutions = 2 * (9 * dim * width + 9 * width * width) + 4 * 2 * width
    attentions = 2 * (width * keys + keys) + width * width + width + 2
    classifiers = (3 if "auxiliary" in arguments else 1) * (width * out_dim + out_dim)
    expected = convolutions + attentions + classifiers
    assert sum(p.numel() for p in DANet(dim, **arguments).parameters()) == expected


def test_auxiliary_outputs():
    """Both branches and each on its own, with a classifier for each."""
    torch.manual_seed(0)
    block, x = DANet(32, out_dim=5, auxiliary=True).eval(), torch.randn(2, 32, 7, 6)
    p, c = block.position(x), block.channel(x)
    outputs = block(x)
    assert [tuple(y.shape) for y in outputs] == [(2, 5, 7, 6)] * 3
    for y, classify, features in zip(outputs, block.classify, (p + c, p, c), strict=True):
        torch.testing.assert_close(y, classify[1](features))


def test_a_plug_in_returns_one_tensor_of_the_same_shape():
    x = torch.randn(2, 12, 5, 4)
    assert DANet(12).eval()(x).shape == x.shape
    assert DANet(12, out_dim=7).eval()(x).shape == (2, 7, 5, 4)


def test_dropout_takes_whole_channels_in_training_only():
    torch.manual_seed(0)
    dropout = DANet(32, dropout=0.5).classify[0][0]
    dropped = dropout(torch.ones(4, 8, 5, 5)).flatten(2)
    assert (dropped.amin(2) == dropped.amax(2)).all() and (dropped == 0).any() and (dropped == 2).any()
    block, x = DANet(32, dropout=0.5), torch.randn(2, 32, 5, 5)
    assert not torch.equal(block(x), block(x))
    assert torch.equal(block.eval()(x), block(x))


@pytest.mark.parametrize("dropout", [1.0, -0.1])
def test_dropout_out_of_range_is_refused(dropout):
    with pytest.raises(ValueError, match=f"dropout must be at least 0 and below 1; got {dropout}"):
        DANet(16, dropout=dropout)
