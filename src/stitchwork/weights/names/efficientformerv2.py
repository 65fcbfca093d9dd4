"""EfficientFormerV2 in timm."""

PARTS = (("conv", "conv"), ("bn", "norm"))
LAYERS = ((0, "fc1"), (1, "mid"), (2, "fc2"))


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    block, ours = r"stages\.(\d)\.blocks\.(\d+)", r"stages.\1.blocks.\2"
    down, here = r"stages\.(\d)\.downsample", r"stages.\1.downsample"
    attentions = ((rf"{block}\.token_mixer", f"{ours}.attn"), (rf"{down}\.attn", f"{here}.attn"))
    rules = [(r"head", "head.label"), (r"head_dist", "head.distillation"), (r"norm", "norm")]
    for theirs, part in PARTS:
        rules += [(rf"stem\.conv{i + 1}\.{theirs}", f"stem.{i}.{part}") for i in (0, 1)]
        rules += [(rf"{block}\.mlp\.{layer}\.{theirs}", f"{ours}.mlp.{i}.{part}") for i, layer in LAYERS]
        rules += [(rf"{down}\.conv\.{theirs}", f"{here}.conv.{part}")]
        for path, mine in attentions:
            rules += [(rf"{path}\.{layer}\.{theirs}", f"{mine}.{layer}.{part}") for layer in "kv"]
            rules += [(rf"{path}\.v_local\.{theirs}", f"{mine}.local.{part}")]
            rules += [(rf"{path}\.proj\.{theirs}", f"{mine}.proj.1.{part}")]
        rules += [(rf"{block}\.token_mixer\.q\.{theirs}", f"{ours}.attn.q.{part}")]
        rules += [(rf"{block}\.token_mixer\.stride_conv\.{theirs}", f"{ours}.attn.shrink.{part}")]
        rules += [(rf"{down}\.attn\.q\.proj\.{theirs}", f"{here}.attn.q.proj.{part}")]
    rules += [(rf"{down}\.attn\.q\.local", f"{here}.attn.q.local")]
    rules += [(rf"{path}\.attention_biases", f"{mine}.position.table") for path, mine in attentions]
    rules += [(rf"{block}\.token_mixer\.talking_head([12])", f"{ours}.attn.talk\\3")]
    rules += [(rf"{block}\.ls([12])", f"{ours}.scale\\3")]
    return tuple(rules)
