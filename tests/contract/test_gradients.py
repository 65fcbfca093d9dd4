"""Training reaches every parameter, and the input."""

from fnmatch import fnmatch

import torch

from .probes import awaken, noise
from .subjects import SMALL, over
from .test_features import SIDE_BY_SIDE

SAME_FOR_ALL_KEYS = "it adds the same number to the logits of all keys, which the softmax does not see"
BEFORE_BATCHNORM = "as in the official code, a bias in front of a BatchNorm, which subtracts it"
BEFORE_POINTWISE = "only 1x1 convolutions with a BatchNorm follow, which subtracts it"
UNSEEN_IN_EFFICIENTFORMER = {
    "*.conv.bias": BEFORE_BATCHNORM,
    "*.attn.k.norm.bias": SAME_FOR_ALL_KEYS,
    "*.attn.talk1.bias": SAME_FOR_ALL_KEYS,
    "*.attn.shrink.norm.bias": BEFORE_POINTWISE,
    "*.attn.q.local.bias": BEFORE_POINTWISE,
}
# Parameters that rightly get no gradient in training: {pattern of the path: reason} for a source file, or for a name
# that differs from the others of its file.
WITHOUT_GRADIENT = {
    "acmix": {
        "position.bias": "it adds the same number to the logits of all keys of a pixel, which the softmax does not see"
    },
    "aft_full": {"key.bias": "it multiplies e^K by the same number at all pixels, which the quotient does not see"},
    "aft_local": {"key.bias": "it multiplies e^K by the same number at all pixels, which the quotient does not see"},
    "aft_simple": {"key.bias": "it multiplies e^K by the same number at all pixels, which the quotient does not see"},
    "attention_unet": {"*.conv.bias": BEFORE_BATCHNORM},
    "ceit": {
        "blocks.*.leff.depthwise.bias": BEFORE_BATCHNORM,
        "blocks.*.leff.narrow.bias": BEFORE_BATCHNORM,
        "blocks.*.leff.widen.bias": BEFORE_BATCHNORM,
        "blocks.11.leff.*": "of the last block only the class token is used, which this leaves alone",
    },
    "coord_attention": {"mix.0.bias": BEFORE_BATCHNORM},
    "cot": {"choose.0.bias": BEFORE_BATCHNORM},
    "criss_cross": {"key.bias": SAME_FOR_ALL_KEYS},
    "crossformer_attention": {"pos.layers.9.bias": SAME_FOR_ALL_KEYS},
    "crossvit": {"exchanges.*.visit.*.k.bias": SAME_FOR_ALL_KEYS},
    "cvt": {
        "stages.[01].*.attn.k.norm.bias": SAME_FOR_ALL_KEYS,
        "stages.*.attn.k.proj.bias": SAME_FOR_ALL_KEYS,
        "stages.2.9.attn.q.conv.weight": "of the last block only the class token is used, which is not convolved",
        "stages.2.9.attn.q.norm.*": "of the last block only the class token is used, which is not convolved",
    },
    "danet": {"position.1.key.bias": SAME_FOR_ALL_KEYS},
    "danet_position": {"key.bias": SAME_FOR_ALL_KEYS},
    "dilateformer": {"stages.*.merge.0.bias": BEFORE_BATCHNORM},
    "double_attention": {
        "gather.bias": "it adds the same number to the logits of all pixels, which the softmax does not see"
    },
    "efficientformerv2": {
        **UNSEEN_IN_EFFICIENTFORMER,
        "stages.3.blocks.*.mlp.2.norm.bias": "every branch of the last stage begins with a 1x1 convolution and a "
        "BatchNorm, which subtracts it, and so does the network's last BatchNorm",
        "stages.3.*.attn.proj.1.norm.bias": "as that of mlp.2",
        "stages.3.downsample.conv.norm.bias": "as that of mlp.2",
    },
    "efficientnet": {
        "stages.*.project.norm.bias": "the projection is linear, so its shift passes through the next 1x1 convolution "
        "as a constant of each channel, which the BatchNorm behind that subtracts"
    },
    "efficientnet_v2": {
        "stages.2.3.project.norm.bias": "only 1x1 convolutions with a BatchNorm follow, which subtracts the shift",
        "stages.[345].*.project.norm.bias": "only 1x1 convolutions with a BatchNorm follow, which subtracts the shift",
    },
    "emsa": {
        "transform.bias": SAME_FOR_ALL_KEYS,
        "kv.bias": "the same for all keys and all values: the softmax does not see the one, and the weights, which sum "
        "to zero behind the InstanceNorm, not the other",
        "sr_norm.bias": "the same for all keys and values, like kv.bias",
    },
    "evit_unet": UNSEEN_IN_EFFICIENTFORMER,
    "external_attention": {
        "embed.bias": "it adds the same number to the logits of all pixels of a slot, which the softmax does not see"
    },
    "gam": {
        "spatial.0.bias": "as in the public versions, a bias in front of a BatchNorm, which subtracts it",
        "spatial.3.bias": "as in the public versions, a bias in front of a BatchNorm, which subtracts it",
    },
    "inception_next": {
        "stem.0.bias": BEFORE_BATCHNORM,
        "stages.*.mixer.*.bias": BEFORE_BATCHNORM,
        "stages.0.1.project.bias": "it meets the BatchNorm of the downsampling, which subtracts it",
        "stages.1.1.project.bias": "it meets the BatchNorm of the downsampling, which subtracts it",
        "stages.2.5.project.bias": "it meets the BatchNorm of the downsampling, which subtracts it",
    },
    "maxvit": {
        "stem.1.bias": "only 1x1 convolutions and additions lie between it and a BatchNorm, which subtracts it",
        "stages.*.conv.norm.bias": "it passes through the next 1x1 convolution as a constant of each channel, and a "
        "BatchNorm subtracts that",
    },
    "mlp_mixer": {
        "blocks.*.mlp_tokens.fc2.bias": "it adds the same number to all channels of a token, which every LayerNorm "
        "subtracts"
    },
    "mobilenet_v2": {
        "stages.*.project.norm.bias": "the projection is linear, so its shift passes through the next 1x1 convolution "
        "as a constant of each channel, which the BatchNorm behind that subtracts"
    },
    "mobilenet_v3": {
        "stages.*.project.norm.bias": "as in MobileNetV2, the next 1x1 convolution passes it as a constant of each "
        "channel, which the BatchNorm behind that subtracts"
    },
    "mobilevit": {
        "stages.[01].*.project.norm.bias": "the projection is linear, so its shift passes through the next 1x1 "
        "convolution as a constant of each channel, which the BatchNorm behind that subtracts",
        "stages.[234].1.norm.bias": "only a 1x1 convolution with a BatchNorm follows, which subtracts the shift",
    },
    "msg_transformer": {
        "stages.3.3.attn.messenger": "of the last block only the messengers are used: as a query the messenger adds "
        "the same number to all keys, which the softmax does not see; as a key it counts for pixels alone",
        "stages.3.3.attn.position.table": "of the last block only the messengers are used, and this is for the pixels",
    },
    "multi_head_external_attention": {
        "embed.bias": "it adds the same number to the logits of all pixels of a slot, which the softmax does not see",
        "memory_key.bias": "it adds a number to the logits of all pixels of a slot, which the softmax does not see",
    },
    "poolformer": {"stages.*.norm1.bias": "the mixer takes the pixel from the mean around it, and so every constant"},
    "pyramidal_attention": {
        "pyramid.down.bias": "a constant of every step, which the convolutions keep constant, so that BatchNorm "
        "subtracts it",
        "pyramid.convs.*.bias": BEFORE_BATCHNORM,
    },
    "repnext": {
        "stages.*.mixer.small.branches.?.bias": "as in the official code, biases in front of a BatchNorm, which "
        "subtracts them",
        "stages.*.mixer.medium.branches.?.bias": "as in the official code, biases in front of a BatchNorm",
        "stages.*.mixer.large.1.bias": "as in the official code, a bias in front of a BatchNorm; that of the row "
        "before it passes the column, which sees zeros outside the image",
        "stages.0.?.norm.bias": "the next 1x1 convolution passes it as a constant to a BatchNorm, which subtracts it; "
        "where the stage downsamples, it is also in the shortcut",
        "stages.[123].[1-9].norm.bias": "the next 1x1 convolution passes it as a constant to a BatchNorm",
        "stages.3.1.mlp.1.norm.bias": "the last shift before the mean, behind which each classifier has a BatchNorm",
    },
    "seaformer_tiny": {
        "encoder.convolve.[0123].*.project.norm.bias": BEFORE_POINTWISE,
        "encoder.attend.3.*.mlp.3.norm.bias": BEFORE_POINTWISE,
    },
    "seaformer_tiny_seg": {
        "encoder.convolve.*.project.norm.bias": BEFORE_POINTWISE,
        "encoder.attend.*.mlp.3.norm.bias": BEFORE_POINTWISE,
    },
    "shufflenet_v1": {
        "stages.*.depthwise.norm.bias": "nothing is cut off behind it: shuffle and 1x1 convolution pass it as a "
        "constant of each channel, which the BatchNorm behind them subtracts"
    },
    "shufflenet_v2": {
        "stages.*.branch.1.norm.bias": "nothing is cut off behind the depthwise convolution: the next 1x1 passes it as "
        "a constant of each channel, which the BatchNorm behind that subtracts",
        "stages.*.shortcut.0.norm.bias": "the same, in the other branch",
    },
    "snake_conv": {
        "conv_y.*": "as in the official code, a module holds the kernels of both axes and uses that of its own"
    },
    "split_attention": {"fuse.0.bias": BEFORE_BATCHNORM},
    "unet": {"down.*.conv.bias": BEFORE_BATCHNORM},
    "unet_plus_plus": {"*.conv.bias": BEFORE_BATCHNORM},
    "unireplknet": {
        "stages.*.look.branches.*.norm.bias": "the BatchNorm behind the sum of the branches subtracts it",
        "stages.*.feed_forward.respond.bias": "as in the official code, the next 1x1 convolution passes it as a "
        "constant to a BatchNorm, which subtracts it",
    },
    "vit_adapter": {"prior.project.0.bias": BEFORE_BATCHNORM, "up.bias": BEFORE_BATCHNORM},
}


def check_gradients(build, shape, exceptions=()):
    """The input and all parameters but the ``exceptions`` get a gradient that is finite and, beyond rounding, not zero.

    A bias in front of a normalisation gets rounding noise for a gradient: it is as good as none. The exceptions, which
    are patterns of paths, must be without a gradient: one that gets some is out of date.
    """
    module = awaken(build()).double().train()
    x = noise(shape, dtype=torch.float64).requires_grad_()
    y = module(x)
    (y * noise(y.shape, seed=1, dtype=torch.float64)).sum().backward()

    # A parameter that is not trained counts as one in the published numbers, and that is all.
    trained = {name: p.grad for name, p in module.named_parameters() if p.requires_grad}
    gradients = {"the input": x.grad} | trained
    missing = [name for name, g in gradients.items() if g is None]
    assert not missing, f"no gradient at all: {missing}"
    broken = [name for name, g in gradients.items() if not g.isfinite().all()]
    assert not broken, f"gradient not finite: {broken}"

    sizes = {name: g.abs().max().item() for name, g in gradients.items()}
    dead = {name for name, size in sizes.items() if size <= 1e-11 * max(sizes.values())}
    excepted = {name for name in sizes if any(fnmatch(name, pattern) for pattern in exceptions)}
    assert not dead - excepted, f"gradient zero: {sorted(dead - excepted)}"
    assert not excepted - dead, f"listed as without a gradient, but has one: {sorted(excepted - dead)}"
    unused = [pattern for pattern in exceptions if not any(fnmatch(name, pattern) for name in sizes)]
    assert not unused, f"listed as without a gradient, but does not exist: {unused}"


def with_all_maps(module):
    """The network with its whole pyramid for an output, where it gives one of several maps that leave side by side."""
    module.forward = lambda x: torch.cat([y.flatten() for y in module.forward_pyramid(x)])
    return module


@over(SMALL)
def test_gradients(subject):
    family = subject.entry.module.rpartition(".")[2]
    build = (lambda: with_all_maps(subject.build())) if family in SIDE_BY_SIDE else subject.build
    exceptions = WITHOUT_GRADIENT.get(subject.name, WITHOUT_GRADIENT.get(family, {}))
    check_gradients(build, (2, *subject.small_size), exceptions)
