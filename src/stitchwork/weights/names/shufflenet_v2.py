"""ShuffleNet V2 in torchvision, which counts the layers of a branch in one row."""

PAIRS = ("conv", "norm")


def torchvision(name: str) -> tuple[tuple[str, str], ...]:
    """The rules, which are the same for every variant."""
    rules = [
        (r"conv1\.0", "stem.conv"),
        (r"conv1\.1", "stem.norm"),
        (r"conv5\.0", "last.conv"),
        (r"conv5\.1", "last.norm"),
        (r"fc", "head"),
    ]
    for stage in range(3):
        theirs, ours = rf"stage{stage + 2}\.(\d)", rf"stages.{stage}.\1"
        # Positions of the convolutions; each has its BatchNorm behind it, and the ReLU is counted too.
        for position, step in ((0, "shortcut.0"), (2, "shortcut.1")):
            rules += [(rf"{theirs}\.branch1\.{position + i}", f"{ours}.{step}.{part}") for i, part in enumerate(PAIRS)]
        for position, step in ((0, "branch.0"), (3, "branch.1"), (5, "branch.2")):
            rules += [(rf"{theirs}\.branch2\.{position + i}", f"{ours}.{step}.{part}") for i, part in enumerate(PAIRS)]
    return tuple(rules)
