"""EfficientNet in timm and in torchvision."""

from torch import nn

# timm trained B5 itself, with its own eps; its B6 and B7 are the official weights, which want TensorFlow's padding.
TIMM = {
    "efficientnet_b5": ("efficientnet_b5", {"norm": nn.BatchNorm2d}),
    "efficientnet_b6": ("tf_efficientnet_b6", {"same_padding": True}),
    "efficientnet_b7": ("tf_efficientnet_b7", {"same_padding": True}),
}


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block, ours = r"blocks\.(\d)\.(\d+)\.", r"stages.\1.\2."
    # The blocks of the first stage have no expansion, so their layers count from the depthwise convolution.
    first, ours_first = r"blocks\.0\.(\d+)\.", r"stages.0.\1."
    return (
        (r"conv_stem", "stem.conv"),
        (r"bn1", "stem.norm"),
        (first + "bn1", ours_first + "depthwise.norm"),
        (first + "conv_pw", ours_first + "project.conv"),
        (first + "bn2", ours_first + "project.norm"),
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
    """torchvision counts the stem as the first stage and the last convolution as the ninth."""
    rules = [
        (r"features\.0\.0", "stem.conv"),
        (r"features\.0\.1", "stem.norm"),
        (r"features\.8\.0", "last.conv"),
        (r"features\.8\.1", "last.norm"),
        (r"classifier\.1", "head"),
    ]
    for stage in range(7):
        steps = ["expand", "depthwise", "se", "project"][stage == 0 :]
        for index, step in enumerate(steps):
            theirs, ours = rf"features\.{stage + 1}\.(\d+)\.block\.{index}\.", rf"stages.{stage}.\1.{step}."
            names = {"fc1": "squeeze", "fc2": "excite"} if step == "se" else {"0": "conv", "1": "norm"}
            rules += [(theirs + part, ours + name) for part, name in names.items()]
    return tuple(rules)
