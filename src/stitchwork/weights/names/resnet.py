"""ResNet and its kin in timm and in torchvision, which agree."""

STEM = (
    (r"conv1", "stem.conv"),
    (r"bn1", "stem.norm"),
)
DEEP_STEM = (
    (r"conv1\.0", "stem.0.conv"),
    (r"conv1\.1", "stem.0.norm"),
    (r"conv1\.3", "stem.1.conv"),
    (r"conv1\.4", "stem.1.norm"),
    (r"conv1\.6", "stem.2.conv"),
    (r"bn1", "stem.2.norm"),
)
STAGES = (
    (r"layer(\d)\.(\d+)\.conv(\d)", r"layer\1.\2.conv\3.conv"),
    (r"layer(\d)\.(\d+)\.bn(\d)", r"layer\1.\2.conv\3.norm"),
    (r"layer(\d)\.(\d+)\.downsample\.0", r"layer\1.\2.shortcut.conv"),
    (r"layer(\d)\.(\d+)\.downsample\.1", r"layer\1.\2.shortcut.norm"),
    (r"fc", "head"),
)


def timm(name: str) -> tuple[tuple[str, str], ...]:
    """The rules; the deep stem counts its layers in one row."""
    return (DEEP_STEM if name.endswith("deep_stem") else STEM) + STAGES


torchvision = timm
