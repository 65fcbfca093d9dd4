"""What the parity tests share: the other library's network, with weights under which nothing hides."""

import pytest
import torch
from torch import nn

from stitchwork.bench.speed import build_reference

# What makes timm's networks take other sizes than that of their training, by the beginning of their names.
# timm's vit_huge_patch14_224 has no classes unless it is asked.
ANY_SIZE = {("vit_", "deit_"): {"dynamic_img_size": True, "dynamic_img_pad": True, "num_classes": 1000}}
# timm's networks that take only the size of their training, or fill up their windows without a mask at others; or leave
# out the pixels that fill no patch.
NATIVE_SIZE = {
    ("crossvit_",): (240, 240),
    ("efficientformerv2_", "gcvit_", "maxvit_", "mixer_", "swin_", "twins_svt_"): (224, 224),
    ("twins_pcpvt_",): (64, 96),
}


def of_prefix(table: dict, published: str, default):
    """The value of the first row one of whose prefixes the name has."""
    return next((value for names, value in table.items() if published.startswith(names)), default)


def size_for(reference: str) -> tuple[int, int]:
    """Height and width at which a reference is compared: small and not square, where it takes that."""
    return of_prefix(NATIVE_SIZE, reference.partition(":")[2], (64, 48))


def build(library: str, published: str, **options) -> nn.Module:
    """A network of timm or torchvision, randomly initialised, without a download."""
    if library == "timm":
        import timm

        return timm.create_model(published, **of_prefix(ANY_SIZE, published, {}), **options)
    return build_reference(f"torchvision:{published}")


@torch.no_grad()
def randomise(network: nn.Module, x: torch.Tensor) -> nn.Module:
    """Random weights and BatchNorm statistics, in evaluation mode.

    A fresh network would hide errors: its BatchNorms are the identity, its biases zero, its logits tiny. Scales and
    shifts are drawn here; the statistics are those of ``x``, so that the signal keeps its size through 150 layers.
    """
    generator = torch.Generator().manual_seed(0)
    for key, parameter in network.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        elif key.endswith("bias"):
            parameter.normal_(0, 0.1, generator=generator)
        else:
            parameter.uniform_(0.5, 1.5, generator=generator)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    network.train()(x)
    return network.eval()


@pytest.fixture(scope="module")
def theirs():
    """Builds and randomises their network; tests of one module share it."""
    built = {}

    def get(reference: str, size: tuple[int, int] | None = None, **options) -> nn.Module:
        key = (reference, size, *options.items())
        if key not in built:
            built.clear()
            x = torch.randn(2, 3, *(size or size_for(reference)), generator=torch.Generator().manual_seed(1))
            built[key] = randomise(build(*reference.split(":"), **options), x)
        return built[key]

    return get
