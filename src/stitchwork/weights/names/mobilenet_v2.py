"""MobileNetV2 in timm and in torchvision."""

from stitchwork.models.mobilenet_v2 import STAGES


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    return (
        (r"conv_stem", "stem.conv"),
        (r"bn1", "stem.norm"),
        # The first block has no expansion, so its layers count from the depthwise convolution.
        (r"blocks\.0\.0\.conv_dw", "stages.0.0.depthwise.conv"),
        (r"blocks\.0\.0\.bn1", "stages.0.0.depthwise.norm"),
        (r"blocks\.0\.0\.conv_pw", "stages.0.0.project.conv"),
        (r"blocks\.0\.0\.bn2", "stages.0.0.project.norm"),
        (r"blocks\.(\d)\.(\d)\.conv_pw", r"stages.\1.\2.expand.conv"),
        (r"blocks\.(\d)\.(\d)\.bn1", r"stages.\1.\2.expand.norm"),
        (r"blocks\.(\d)\.(\d)\.conv_dw", r"stages.\1.\2.depthwise.conv"),
        (r"blocks\.(\d)\.(\d)\.bn2", r"stages.\1.\2.depthwise.norm"),
        (r"blocks\.(\d)\.(\d)\.conv_pwl", r"stages.\1.\2.project.conv"),
        (r"blocks\.(\d)\.(\d)\.bn3", r"stages.\1.\2.project.norm"),
        (r"conv_head", "last.conv"),
        (r"bn2", "last.norm"),
        (r"classifier", "head"),
    )


def torchvision(name: str) -> tuple[tuple[str, str], ...]:
    """torchvision numbers all seventeen blocks in one row; table 2 of the paper says which stage each belongs to."""
    rules = [(r"features\.0\.0", "stem.conv"), (r"features\.0\.1", "stem.norm")]
    index = 0
    for stage, (expansion, _, repeats, _) in enumerate(STAGES):
        for position in range(repeats):
            index += 1
            theirs, ours = rf"features\.{index}\.conv", f"stages.{stage}.{position}"
            steps = ["expand", "depthwise"] if expansion > 1 else ["depthwise"]
            for i, step in enumerate(steps):
                rules += [(rf"{theirs}\.{i}\.0", f"{ours}.{step}.conv"), (rf"{theirs}\.{i}\.1", f"{ours}.{step}.norm")]
            last = len(steps)
            rules += [
                (rf"{theirs}\.{last}", f"{ours}.project.conv"),
                (rf"{theirs}\.{last + 1}", f"{ours}.project.norm"),
            ]
    rules += [(rf"features\.{index + 1}\.0", "last.conv"), (rf"features\.{index + 1}\.1", "last.norm")]
    return (*rules, (r"classifier\.1", "head"))
