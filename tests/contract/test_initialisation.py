"""As training begins: the signal neither dies nor explodes, nothing is undefined, logits are logits."""

from functools import partial

import torch

from .probes import noise
from .subjects import SMALL, SMALL_BLOCKS, SMALL_MODELS, over

# Networks whose signal fades further, as the official initialisation has it, and why that does no harm.
FADES = {
    # Four convolutions in a row without a normalisation, of which PyTorch's own start takes nearly half each; the
    # branches are silent at first, and a LayerNorm stands in front of the classifier.
    "poolformer_s12": 0.05,
}


def check_scale(forward, x, least=0.1):
    """The output's standard deviation is within a factor of ten of the input's."""
    with torch.no_grad():
        ratio = (forward(x).std() / x.std()).item()
    assert least <= ratio <= 10, f"output std is {ratio:.2g} times input std"


def check_zero_input(build, shape, dtype=torch.float32):
    """An image of zeros gives finite output and gradients, in training and in evaluation.

    A BatchNorm whose channels are constant divides by the root of eps, and so magnifies gradients some 300 times. Where
    no ReLU stops them, fifty layers of that are too much for float32, and no error: networks are checked in float64.
    """
    module = build().to(dtype)
    for training in (False, True):
        x = torch.zeros(shape, dtype=dtype, requires_grad=True)
        y = module.train(training)(x)
        assert y.isfinite().all(), f"zero input, training={training}: output not finite"
        y.sum().backward()
        assert x.grad.isfinite().all(), f"zero input, training={training}: gradient not finite"


def check_logits(build, shape):
    """The network ends in logits: of both signs, no distribution, and without a bound."""
    module = build().eval()
    with torch.no_grad():
        features = module.forward_features(noise(shape))
        features /= features.std()
        logits = module.forward_head(features)
        if pre_logits := getattr(module, "pre_logits", None):
            # Made large behind a normalisation, which would hide it.
            module.pre_logits = lambda features: 1000 * pre_logits(features)
            large = module.forward_head(features)
        else:
            large = module.forward_head(1000 * features)
    assert logits.isfinite().all(), "logits at initialisation are not finite"
    assert (logits < 0).any() and (logits > 0).any(), "logits have one sign only"
    assert ((logits.sum(1) - 1).abs() > 1e-3).any(), "every row of logits sums to one: there is a softmax"
    growth = (large.abs().max() / logits.abs().max()).item()
    assert growth > 100, f"features 1000 times as large give logits only {growth:.2g} times as large"


@over(SMALL_BLOCKS)
def test_scale_of_blocks(subject):
    check_scale(subject.build().train(), noise((8, *subject.small_size)))


@over(SMALL_MODELS)
def test_scale_of_features(subject):
    forward = subject.build().train().forward_features
    check_scale(forward, noise((8, *subject.small_size)), FADES.get(subject.name, 0.1))


@over(SMALL)
def test_zero_input(subject):
    dtype = torch.float64 if subject.is_model else torch.float32
    check_zero_input(subject.build, (2, *subject.small_size), dtype)


@over(SMALL_MODELS)
def test_logits(subject):
    build = partial(subject.build, num_classes=8) if subject.is_segmenter else subject.build
    check_logits(build, (4, *subject.small_size))
