"""EfficientNetV2 in timm and in torchvision."""

from stitchwork.models.efficientnet_v2 import FusedMBConv
from stitchwork.registry import describe

# The official weights, which want TensorFlow's padding.
TIMM = {f"efficientnet_v2_{size}": (f"tf_efficientnetv2_{size}", {"same_padding": True}) for size in "sml"}


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block, ours = r"blocks\.(\d)\.(\d+)\.", r"stages.\1.\2."
    fused, ours_fused = r"blocks\.([12])\.(\d+)\.", r"stages.\1.\2."
    return (
        (r"conv_stem", "stem.conv"),
        (r"bn1", "stem.norm"),
        # The first stage has plain convolutions.
        (r"blocks\.0\.(\d+)\.conv", r"stages.0.\1.expand.conv"),
        (r"blocks\.0\.(\d+)\.bn1", r"stages.0.\1.expand.norm"),
        (fused + "conv_exp", ours_fused + "expand.conv"),
        (fused + "bn2", ours_fused + "project.norm"),
        (block + "conv_pw", ours + "expand.conv"),
        (block + "bn1", ours + "expand.norm"),
        (block + "conv_dw", ours + "depthwise.conv"),
        (block + "bn2", ours + "depthwise.norm"),
        (block + r"se\.conv_reduce", ours + "se.squeeze"),
        (block + r"se\.conv_expand", ours + "se.excite"),
        (block + "conv_pwl", ours + "project.conv"),
        (block + "bn3", ours + "project.norm"),
        (r"conv_head", "last.conv"),
        (r"bn2", "last.norm"),
        (r"classifier", "head"),
    )


def torchvision(name: str) -> tuple[tuple[str, str], ...]:
    """torchvision counts the stem as the first stage, and the last convolution as one more."""
    stages = describe(name).build.args[0]
    last = rf"features\.{len(stages) + 1}\."
    rules = [
        (r"features\.0\.0", "stem.conv"),
        (r"features\.0\.1", "stem.norm"),
        (last + "0", "last.conv"),
        (last + "1", "last.norm"),
        (r"classifier\.1", "head"),
    ]
    for stage, (block, *_) in enumerate(stages):
        steps = ["expand", "project"] if block is FusedMBConv else ["expand", "depthwise", "se", "project"]
        for index, step in enumerate(steps):
            theirs, ours = rf"features\.{stage + 1}\.(\d+)\.block\.{index}\.", rf"stages.{stage}.\1.{step}."
            names = {"fc1": "squeeze", "fc2": "excite"} if step == "se" else {"0": "conv", "1": "norm"}
            rules += [(theirs + part, ours + name) for part, name in names.items()]
    return tuple(rules)
