"""Real bugs are put into the package one by one, and the suite must notice each.

What runs is the suite itself, until the first test fails: the parity and contract tests of the name concerned, or the
tests of a part that has no name, such as the losses. ``python tests/mutation/test_mutations.py`` prints which test
catches which bug.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from mutation import Mutation, apply
from mutations import MUTATIONS
from worker import TESTS


class Suite:
    """A process that runs the suite against mutated packages."""

    def __init__(self):
        # Nothing of the outer run's options: the inner one is its own.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py"))],
            cwd=TESTS.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )

    def run(self, mutation):
        path = Path(importlib.util.find_spec(f"stitchwork.{mutation.module}").origin)
        source = apply(mutation, path.read_text(encoding="utf-8"))
        request = {"module": mutation.module, "source": source, "subject": mutation.subject}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, f"the process that runs the suite ended with {self.process.wait()}"
        return json.loads(answer)

    def close(self):
        self.process.kill()  # it has nothing to tidy up
        self.process.communicate()


@pytest.fixture(scope="module")
def suite():
    suite = Suite()
    yield suite
    suite.close()


def test_sound_package_passes(suite):
    """Without a bug the same machinery finds nothing: what it catches is the bug."""
    result = suite.run(Mutation("none", "blocks.se", (), "se"))
    assert result["imported"]
    assert result["passed"] > 20 and not result["failed"] and not result["broken"], result["output"]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.id)
def test_mutation_is_caught(suite, mutation):
    result = suite.run(mutation)
    assert result["imported"], f"stitchwork.{mutation.module} was not imported: the mutated text never ran"
    assert not result["broken"], f"the suite broke in the place of failing: {result['output']}"
    assert result["failed"], f"no test of {mutation.subject} noticed ({result['passed']} passed)"


def test_stale_mutations_are_noticed():
    stale = Mutation("stale", "blocks.se", (("no such text", ""),), "se")
    with pytest.raises(LookupError, match="stale"):
        apply(stale, "some other text")


if __name__ == "__main__":
    inner = Suite()
    for mutation in MUTATIONS:
        caught = inner.run(mutation)
        print(f"{mutation.id:45}", *caught["failed"] or ["NOT CAUGHT", caught["broken"], caught["passed"]], flush=True)
    inner.close()
