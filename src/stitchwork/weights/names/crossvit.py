"""CrossViT in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block = r"blocks\.(\d)\.blocks\.(\d)\.(\d)\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc[12])"
    return (
        (r"pos_embed_(\d)", r"positions.\1.table"),
        (r"cls_token_(\d)", r"class_tokens.\1"),
        (r"patch_embed\.(\d)\.proj", r"embeds.\1"),
        (r"patch_embed\.(\d)\.proj\.(\d)", r"embeds.\1.\2"),
        (block, r"exchanges.\1.blocks.\2.\3.\4"),
        (r"blocks\.(\d)\.projs\.(\d)\.(\d)", r"exchanges.\1.leave.\2.\3"),
        (r"blocks\.(\d)\.fusion\.(\d)\.norm1", r"exchanges.\1.visit.\2.norm"),
        (r"blocks\.(\d)\.fusion\.(\d)\.attn\.w(q|k|v)", r"exchanges.\1.visit.\2.\3"),
        (r"blocks\.(\d)\.fusion\.(\d)\.attn\.proj", r"exchanges.\1.visit.\2.proj"),
        (r"blocks\.(\d)\.revert_projs\.(\d)\.(\d)", r"exchanges.\1.home.\2.\3"),
        (r"norm\.(\d)", r"norms.\1"),
        (r"head\.(\d)", r"head.\1"),
    )
