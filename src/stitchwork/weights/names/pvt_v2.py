"""PVTv2 in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block, ours = r"(stages\.\d\.blocks\.\d+)", r"\1"
    return (
        (r"patch_embed\.proj", "stages.0.patch_embed"),
        (r"patch_embed\.norm", "stages.0.patch_embed.norm"),
        (r"(stages\.\d)\.downsample\.proj", r"\1.patch_embed"),
        (r"(stages\.\d)\.downsample\.norm", r"\1.patch_embed.norm"),
        (rf"{block}\.(norm[12]|attn\.(?:q|kv|proj)|mlp\.(?:fc1|dwconv|fc2))", rf"{ours}.\2"),
        (rf"{block}\.attn\.sr", rf"{ours}.attn.reduce.conv"),
        (rf"{block}\.attn\.norm", rf"{ours}.attn.reduce.norm"),
        (r"(stages\.\d\.norm)", r"\1"),
        (r"head", "head"),
    )
