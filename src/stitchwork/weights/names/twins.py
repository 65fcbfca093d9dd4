"""Twins in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block, ours = r"blocks\.(\d)\.(\d+)", r"stages.\1.blocks.\2"
    return (
        (r"patch_embeds\.(\d)\.proj", r"stages.\1.patch_embed"),
        (r"patch_embeds\.(\d)\.norm", r"stages.\1.patch_embed.norm"),
        (r"pos_block\.(\d)\.proj\.0", r"stages.\1.position"),
        (rf"{block}\.(norm[12]|attn\.(?:qkv|q|kv|proj)|mlp\.fc[12])", rf"{ours}.\3"),
        (rf"{block}\.attn\.sr", rf"{ours}.attn.reduce.conv"),
        (rf"{block}\.attn\.norm", rf"{ours}.attn.reduce.norm"),
        (r"norm", "norm"),
        (r"head", "head"),
    )
