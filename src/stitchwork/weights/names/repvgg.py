"""RepVGG in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    return (
        (r"(stem|stages\.\d\.\d+)\.conv_kxk\.conv", r"\1.dense.conv"),
        (r"(stem|stages\.\d\.\d+)\.conv_kxk\.bn", r"\1.dense.norm"),
        (r"(stem|stages\.\d\.\d+)\.conv_1x1\.conv", r"\1.pointwise.conv"),
        (r"(stem|stages\.\d\.\d+)\.conv_1x1\.bn", r"\1.pointwise.norm"),
        (r"(stages\.\d\.\d+)\.identity", r"\1.identity"),
        (r"head\.fc", "head"),
    )
