"""PoolFormer in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block = r"stages\.(\d)\.blocks\.(\d+)"
    return (
        (r"stem\.conv", "stages.0.enter"),
        (r"stages\.(\d)\.downsample\.conv", r"stages.\1.enter"),
        (rf"{block}\.(norm[12])", r"stages.\1.blocks.\2.\3"),
        (rf"{block}\.mlp\.fc1", r"stages.\1.blocks.\2.mlp.0"),
        (rf"{block}\.mlp\.fc2", r"stages.\1.blocks.\2.mlp.2"),
        (rf"{block}\.layer_scale([12])\.scale", r"stages.\1.blocks.\2.scale\3.gamma"),
        (r"head\.norm", "norm"),
        (r"head\.fc", "head"),
    )
