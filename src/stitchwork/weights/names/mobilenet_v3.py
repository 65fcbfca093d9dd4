"""MobileNetV3 in timm and in torchvision."""

from stitchwork.models.mobilenet_v3 import LARGE, SMALL

# timm's BatchNorms have an eps of 1e-5.
TIMM = {
    "mobilenet_v3_large": ("mobilenetv3_large_100", {"eps": 1e-5}),
    "mobilenet_v3_small": ("mobilenetv3_small_100", {"eps": 1e-5}),
}


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for both variants; their BatchNorms have an eps of 1e-5, ours by default 1e-3."""
    return (
        (r"conv_stem", "stem.conv"),
        (r"bn1", "stem.norm"),
        # The first block has no expansion, so its layers count from the depthwise convolution.
        (r"blocks\.0\.0\.conv_dw", "stages.0.0.depthwise.conv"),
        (r"blocks\.0\.0\.bn1", "stages.0.0.depthwise.norm"),
        (r"blocks\.0\.0\.conv_pw", "stages.0.0.project.conv"),
        (r"blocks\.0\.0\.bn2", "stages.0.0.project.norm"),
        (r"blocks\.(\d)\.(\d)\.se\.conv_reduce", r"stages.\1.\2.gate.squeeze"),
        (r"blocks\.(\d)\.(\d)\.se\.conv_expand", r"stages.\1.\2.gate.excite"),
        (r"blocks\.(\d)\.(\d)\.conv_pw", r"stages.\1.\2.expand.conv"),
        (r"blocks\.(\d)\.(\d)\.conv_dw", r"stages.\1.\2.depthwise.conv"),
        (r"blocks\.(\d)\.(\d)\.conv_pwl", r"stages.\1.\2.project.conv"),
        (r"blocks\.(\d)\.(\d)\.bn3", r"stages.\1.\2.project.norm"),
        (r"blocks\.\d\.0\.conv", "last.conv"),
        (rf"blocks\.{len(stages(name))}\.0\.bn1", "last.norm"),
        (r"blocks\.(\d)\.(\d)\.bn1", r"stages.\1.\2.expand.norm"),
        (r"blocks\.(\d)\.(\d)\.bn2", r"stages.\1.\2.depthwise.norm"),
        (r"conv_head", "hidden"),
        (r"classifier", "head"),
    )


def torchvision(name: str) -> tuple[tuple[str, str], ...]:
    """torchvision numbers the blocks in one row, and in each the steps that it has; the table says which these are."""
    rules = [(r"features\.0\.0", "stem.conv"), (r"features\.0\.1", "stem.norm")]
    index, dim = 0, 16
    for stage, blocks in enumerate(stages(name)):
        for position, (_, hidden, out_dim, gated, _, _) in enumerate(blocks):
            index += 1
            steps = ["expand"] * (hidden != dim) + ["depthwise"] + ["gate"] * gated + ["project"]
            for i, step in enumerate(steps):
                theirs, ours = rf"features\.{index}\.block\.{i}", f"stages.{stage}.{position}.{step}"
                parts = {"fc1": "squeeze", "fc2": "excite"} if step == "gate" else {"0": "conv", "1": "norm"}
                rules += [(rf"{theirs}\.{part}", f"{ours}.{our_part}") for part, our_part in parts.items()]
            dim = out_dim
    rules += [(rf"features\.{index + 1}\.0", "last.conv"), (rf"features\.{index + 1}\.1", "last.norm")]
    return (*rules, (r"classifier\.0", "hidden"), (r"classifier\.3", "head"))


def stages(name: str) -> tuple:
    """The table of a network."""
    return LARGE if name.endswith("large") else SMALL
