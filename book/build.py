"""Build the book from scratch, treating warnings as errors: ``python book/build.py``.

Sphinx reports a warning only when it reads a page anew, so a build on top of an earlier one can hide it: ``_build``
goes first. Everything that the build prints is also in ``_build/build.log``.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
LOG = BUILD / "build.log"


def build() -> int:
    """Build ``_build/html``; returns the exit status of Jupyter Book."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir()
    program = "from jupyter_book.cli.main import main; main()"  # this Python's, whatever is on PATH
    command = [sys.executable, "-c", program, "build", str(ROOT), "-W", "--keep-going"]
    with LOG.open("w", encoding="utf-8") as log:
        run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
        for line in run.stdout:
            sys.stdout.write(line)
            log.write(line)
    return run.wait()


if __name__ == "__main__":
    status = build()
    if status == 0:
        print(f"\nThe book: {(BUILD / 'html' / 'index.html').as_uri()}")
    sys.exit(status)
