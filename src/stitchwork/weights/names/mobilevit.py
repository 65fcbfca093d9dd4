"""MobileViT in timm."""

LAYERS = {"conv": "conv", "bn": "norm"}
PARTS = {
    "conv1_1x1": "expand",
    "conv2_kxk": "depthwise",
    "conv3_1x1": "project",
    "conv_kxk": "near",
    "conv_proj": "narrow",
    "conv_fusion": "join",
}


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block, ours = r"(stages\.\d\.\d)", r"\1"
    return (
        *[(rf"stem\.{a}", f"stem.{b}") for a, b in LAYERS.items()],
        *[(rf"{block}\.{p}\.{a}", rf"{ours}.{q}.{b}") for p, q in PARTS.items() for a, b in LAYERS.items()],
        (rf"{block}\.conv_1x1", rf"{ours}.widen"),
        (rf"{block}\.(transformer\.\d\.(?:norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])|norm)", rf"{ours}.\2"),
        *[(rf"final_conv\.{a}", f"last.{b}") for a, b in LAYERS.items()],
        (r"head\.fc", "head"),
    )
