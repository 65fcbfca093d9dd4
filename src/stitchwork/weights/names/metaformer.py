"""ConvFormer, CAFormer and the second PoolFormer in timm."""


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant; of the mixers, each stage has its own."""
    block, ours = r"stages\.(\d)\.blocks\.(\d+)", r"stages.\1.blocks.\2"
    head = ((r"head\.fc", "head"),)
    if not name.startswith("poolformer"):
        head = ((r"head\.fc\.fc1", "widen.fc"), (r"head\.fc\.norm", "widen.norm"), (r"head\.fc\.fc2", "head"))
    return (
        (r"stem\.(conv|norm)", r"stages.0.\1"),
        (r"stages\.(\d)\.downsample\.(conv|norm)", r"stages.\1.\2"),
        (rf"{block}\.(norm[12])", rf"{ours}.\3"),
        (rf"{block}\.token_mixer\.pwconv1", rf"{ours}.mixer.0"),
        (rf"{block}\.token_mixer\.act1", rf"{ours}.mixer.1"),
        (rf"{block}\.token_mixer\.dwconv", rf"{ours}.mixer.2"),
        (rf"{block}\.token_mixer\.pwconv2", rf"{ours}.mixer.3"),
        (rf"{block}\.token_mixer\.(qkv|proj)", rf"{ours}.mixer.\3"),
        (rf"{block}\.mlp\.fc1", rf"{ours}.mlp.0"),
        (rf"{block}\.mlp\.act", rf"{ours}.mlp.1"),
        (rf"{block}\.mlp\.fc2", rf"{ours}.mlp.2"),
        (rf"{block}\.res_scale([12])\.scale", rf"{ours}.residual\3.gamma"),
        (r"head\.norm", "norm"),
        *head,
    )
