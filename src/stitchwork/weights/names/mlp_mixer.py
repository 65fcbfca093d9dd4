"""MLP-Mixer in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    return (
        (r"stem\.proj", "patch_embed"),
        (r"(blocks\.\d+\.(?:norm1|norm2|mlp_tokens\.fc[12]|mlp_channels\.fc[12]))", r"\1"),
        (r"norm", "norm"),
        (r"head", "head"),
    )
