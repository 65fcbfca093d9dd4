"""Swin in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block, ours = r"layers\.(\d)\.blocks\.(\d+)", r"stages.\1.blocks.\2"
    return (
        (r"patch_embed\.proj", "patch_embed"),
        (r"patch_embed\.norm", "patch_embed.norm"),
        (rf"{block}\.(norm[12]|attn\.(?:qkv|proj)|mlp\.fc[12])", rf"{ours}.\3"),
        (rf"{block}\.attn\.relative_position_bias_table", rf"{ours}.attn.position.table"),
        (r"layers\.(\d)\.downsample\.(norm|reduction)", r"stages.\1.merge.\2"),
        (r"norm", "norm"),
        (r"head\.fc", "head"),
    )
