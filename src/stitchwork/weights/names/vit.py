"""ViT in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant; a parameter of the network itself has its whole name here."""
    return (
        (r"cls_token", "class_token"),
        (r"pos_embed", "positions.table"),
        (r"patch_embed\.proj", "patch_embed"),
        (r"(blocks\.\d+\.(?:norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2))", r"\1"),
        (r"norm", "norm"),
        (r"head", "head"),
    )
