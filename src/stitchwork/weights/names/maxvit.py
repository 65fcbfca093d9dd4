"""MaxViT in timm."""

CONV = {
    r"shortcut\.expand": "expand_shortcut",
    r"pre_norm": "norm",
    r"conv1_1x1": "expand.0",
    r"norm1": "expand.1",
    r"conv2_kxk": "depthwise.1",
    r"norm2": "depthwise.2",
    r"se\.fc1": "se.squeeze",
    r"se\.fc2": "se.excite",
    r"conv3_1x1": "project",
}


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block, ours = r"stages\.(\d)\.blocks\.(\d+)", r"stages.\1.\2"
    attention = rf"{block}\.attn_(block|grid)"
    return (
        (r"stem\.conv1", "stem.1"),
        (r"stem\.norm1", "stem.2"),
        (r"stem\.conv2", "stem.4"),
        *[(rf"{block}\.conv\.{a}", rf"{ours}.conv.{b}") for a, b in CONV.items()],
        (rf"{attention}\.(norm[12]|attn\.(?:qkv|proj)|mlp\.fc[12])", rf"{ours}.\3.\4"),
        (rf"{attention}\.attn\.rel_pos\.relative_position_bias_table", rf"{ours}.\3.attn.table"),
        (r"head\.norm", "norm"),
        (r"head\.pre_logits\.fc", "hidden"),
        (r"head\.fc", "head"),
    )
