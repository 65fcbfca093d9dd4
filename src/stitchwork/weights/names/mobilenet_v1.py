"""MobileNetV1 in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    return (
        (r"conv_stem", "stem.conv"),
        (r"bn1", "stem.norm"),
        (r"blocks\.(\d)\.(\d)\.conv_dw", r"stages.\1.\2.depthwise.conv"),
        (r"blocks\.(\d)\.(\d)\.bn1", r"stages.\1.\2.depthwise.norm"),
        (r"blocks\.(\d)\.(\d)\.conv_pw", r"stages.\1.\2.pointwise.conv"),
        (r"blocks\.(\d)\.(\d)\.bn2", r"stages.\1.\2.pointwise.norm"),
        (r"classifier", "head"),
    )
