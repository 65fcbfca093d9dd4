"""DeepLabV3 and FCN in torchvision; its trained networks have a second head, which only training used."""

from stitchwork.weights.names import resnet

PARTS = ("conv", "norm")
AUXILIARY = (r"aux_classifier\..*", None)


def torchvision(name: str) -> tuple[tuple[str, str | None], ...]:
    """The rules: the ResNet's, and those of the head."""
    encoder = [(rf"backbone\.{theirs}", f"encoder.{ours}") for theirs, ours in resnet.torchvision("resnet50")]
    if name.startswith("fcn"):
        head = [(rf"classifier\.{i}", f"context.{part}") for i, part in enumerate(PARTS)]
        return (*encoder, *head, (r"classifier\.4", "head"), AUXILIARY)
    aspp = [(rf"classifier\.0\.convs\.0\.{i}", f"context.0.point.{part}") for i, part in enumerate(PARTS)]
    for branch in (1, 2, 3):
        aspp += [
            (rf"classifier\.0\.convs\.{branch}\.{i}", f"context.0.atrous.{branch - 1}.{part}")
            for i, part in enumerate(PARTS)
        ]
    aspp += [(r"classifier\.0\.convs\.4\.1", "context.0.whole.0"), (r"classifier\.0\.convs\.4\.2", "context.0.whole.1")]
    aspp += [(rf"classifier\.0\.project\.{i}", f"context.0.project.{part}") for i, part in enumerate(PARTS)]
    head = [(rf"classifier\.{i + 1}", f"context.1.{part}") for i, part in enumerate(PARTS)]
    return (*encoder, *aspp, *head, (r"classifier\.4", "head"), AUXILIARY)
