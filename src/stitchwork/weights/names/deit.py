"""DeiT in timm."""

from stitchwork.weights.names import vit


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """ViT's rules, and for the distilled networks those of the second head."""
    distilled = (
        (r"dist_token", "distillation_token"),
        (r"head", "head.label"),
        (r"head_dist", "head.distillation"),
    )
    return (distilled if name.endswith("distilled") else ()) + vit.timm(name)
