"""GC-ViT in timm."""

MIX = {r"conv_dw": "depthwise", r"se\.fc1": "se.squeeze", r"se\.fc2": "se.excite", r"conv_pw": "pointwise"}


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block, ours = r"(stages\.\d\.blocks\.\d+)", r"\1"
    down = (("stem.down", "stem.1"), *((f"stages.{i}.downsample", f"stages.{i}.downsample") for i in (1, 2, 3)))
    query = [
        (f"stages.{i}.global_block.blocks.conv{j}", f"stages.{i}.query.blocks.{place}")
        for i, step in enumerate((2, 2, 1, 1))
        for j, place in enumerate(range(0, 6, step), 1)
    ]
    return (
        (r"stem\.conv1", "stem.0"),
        *[(rf"{theirs}\.({part})", rf"{here}.\1") for theirs, here in down for part in ("norm1", "norm2", "reduction")],
        *[(rf"{theirs}\.conv_block\.{a}", f"{here}.mix.{b}") for theirs, here in down for a, b in MIX.items()],
        *[(rf"{theirs}\.{a}", f"{here}.{b}") for theirs, here in query for a, b in MIX.items()],
        (rf"{block}\.(norm[12]|attn\.(?:qkv|proj)|mlp\.fc[12])", rf"{ours}.\2"),
        (rf"{block}\.attn\.rel_pos\.relative_position_bias_table", rf"{ours}.attn.position.table"),
        (rf"{block}\.ls([12])", rf"{ours}.scale\2"),
        (r"stages\.3\.norm", "norm"),
        (r"head\.fc", "head"),
    )
