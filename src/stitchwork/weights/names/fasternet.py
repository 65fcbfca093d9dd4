"""FasterNet in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    return (
        (r"patch_embed\.proj", "patches.0.conv"),
        (r"patch_embed\.norm", "patches.0.norm"),
        (r"stages\.(\d)\.downsample\.reduction", r"patches.\1.conv"),
        (r"stages\.(\d)\.downsample\.norm", r"patches.\1.norm"),
        (r"stages\.(\d)\.blocks\.(\d+)\.spatial_mixing\.partial_conv3", r"stages.\1.\2.mix.conv"),
        (r"stages\.(\d)\.blocks\.(\d+)\.mlp\.0", r"stages.\1.\2.expand.conv"),
        (r"stages\.(\d)\.blocks\.(\d+)\.mlp\.1", r"stages.\1.\2.expand.norm"),
        (r"stages\.(\d)\.blocks\.(\d+)\.mlp\.3", r"stages.\1.\2.project"),
        (r"conv_head", "hidden"),
        (r"classifier", "head"),
    )
