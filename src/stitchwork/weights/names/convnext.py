"""ConvNeXt in timm and in torchvision."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block = r"stages\.(\d)\.blocks\.(\d+)"
    return (
        (r"stem\.(\d)", r"stem.\1"),
        (r"stages\.(\d)\.downsample\.(\d)", r"downsamples.\1.\2"),
        (rf"{block}\.conv_dw", r"stages.\1.\2.depthwise"),
        (rf"{block}\.norm", r"stages.\1.\2.norm"),
        (rf"{block}\.mlp\.fc1", r"stages.\1.\2.expand"),
        (rf"{block}\.mlp\.fc2", r"stages.\1.\2.project"),
        (block, r"stages.\1.\2.scale"),  # of the tensor gamma
        (r"head\.norm", "norm"),
        (r"head\.fc", "head"),
    )


def torchvision(name: str) -> tuple[tuple[str, str], ...]:
    """torchvision keeps stem, stages and what lies between them in one row, and the layers of a block too."""
    rules = [(r"classifier\.0", "norm"), (r"classifier\.2", "head")]
    for stage in range(4):
        block = rf"features\.{2 * stage + 1}\.(\d+)"
        rules += [
            (rf"features\.{2 * stage}\.(\d)", rf"downsamples.{stage}.\1" if stage else r"stem.\1"),
            (rf"{block}\.block\.0", rf"stages.{stage}.\1.depthwise"),
            (rf"{block}\.block\.2", rf"stages.{stage}.\1.norm"),
            (rf"{block}\.block\.3", rf"stages.{stage}.\1.expand"),
            (rf"{block}\.block\.5", rf"stages.{stage}.\1.project"),
            (rf"{block}\.layer_scale", rf"stages.{stage}.\1.scale.gamma"),
        ]
    return tuple(rules)
