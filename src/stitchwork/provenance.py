"""What made a result: the version, the source code and the machine; and the source as it stands."""

import hashlib
import inspect
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

__version__ = metadata.version("stitchwork")
REPOSITORY = dict(line.split(", ", 1) for line in metadata.metadata("stitchwork").get_all("Project-URL", []))[
    "Repository"
]

SETUP_CELL = f"""\
try:
    import stitchwork
except ModuleNotFoundError:  # on Colab: installs the package and what it lacks, never another torch
    %pip install --quiet "stitchwork[notebooks] @ git+{REPOSITORY}"
    import stitchwork"""
"""The first code cell of every chapter."""


@cache
def source_hash() -> str:
    """Hash of the installed package's source files: the first 12 hex digits of a sha256 over names and contents."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:12]


def hardware() -> str:
    """The machine in words: the GPU's name, or the CPU's with its number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0] if models else name
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def environment() -> dict[str, str]:
    """Hardware, versions and source hash, as they are written into an executed notebook or a benchmark record."""
    return {
        "hardware": hardware(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch.__version__,
        "stitchwork": __version__,
        "source": source_hash(),
    }


def show_source(thing):
    """Show the source of a class or function as it stands in the installed package, highlighted in a notebook."""
    from IPython.display import Code

    return Code(inspect.getsource(thing), language="python")
