"""InceptionNeXt in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block = r"stages\.(\d)\.blocks\.(\d+)"
    return (
        (r"stem\.(\d)", r"stem.\1"),
        (r"stages\.(\d)\.downsample\.(\d)", r"downsamples.\1.\2"),
        (rf"{block}\.token_mixer\.dwconv_hw", r"stages.\1.\2.mixer.square"),
        (rf"{block}\.token_mixer\.dwconv_w", r"stages.\1.\2.mixer.row"),
        (rf"{block}\.token_mixer\.dwconv_h", r"stages.\1.\2.mixer.column"),
        (rf"{block}\.norm", r"stages.\1.\2.norm"),
        (rf"{block}\.mlp\.fc1", r"stages.\1.\2.expand"),
        (rf"{block}\.mlp\.fc2", r"stages.\1.\2.project"),
        (block, r"stages.\1.\2.scale"),  # of the tensor gamma
        (r"head\.fc1", "hidden"),
        (r"head\.norm", "norm"),
        (r"head\.fc2", "head"),
    )
