"""The package as a whole: what importing it costs, which floor knows which, and what is written in several places."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest
import yaml

import stitchwork

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "stitchwork"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def run(code, cwd=None):
    """Run code in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


# What importing costs


def test_import_takes_little_more_than_torch():
    run("""
import sys, time
import torch
start = time.process_time()
import stitchwork
stitchwork.list_blocks(), stitchwork.list_models()
seconds = time.process_time() - start
others = {"pandas", "matplotlib", "timm", "torchvision", "sklearn", "accelerate", "safetensors"} & set(sys.modules)
assert not others, others
assert seconds < 1, seconds
""")


def test_core_needs_torch_and_einops_only():
    """With every library hidden that torch and einops do not require, blocks and networks are built and run."""
    done = run("""
import re, sys
from importlib import metadata

required, queue = set(), ["torch", "einops"]
while queue:
    name = re.split(r"[^\\w.-]", queue.pop())[0].lower().replace("_", "-")
    if name not in required:
        required.add(name)
        try:
            queue += [r for r in metadata.requires(name) or [] if "extra ==" not in r]
        except metadata.PackageNotFoundError:
            continue
hidden = {
    top for top, owners in metadata.packages_distributions().items()
    if not {owner.lower().replace("_", "-") for owner in owners} & (required | {"stitchwork"})
}
assert {"numpy", "pandas", "matplotlib", "timm", "torchvision", "safetensors", "typer"} <= hidden

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in hidden else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
import torch
import stitchwork
for name in stitchwork.list_blocks():
    arguments, shape = stitchwork.describe(name).example()
    stitchwork.create_block(name, **arguments)(torch.randn(2, *shape[1:]))
assert stitchwork.create_model("mobilenet_v2_035", num_classes=3).eval()(torch.randn(1, 3, 32, 32)).shape == (1, 3)
stitchwork.create_model("resnet18"), stitchwork.create_model("mobilenet_v1")
print(len(hidden), "hidden")
""")
    assert "hidden" in done


def test_core_dependencies():
    assert sorted(re.split(r"[<>=~!]", d)[0] for d in PROJECT["dependencies"]) == ["einops", "torch"]
    bounds = [d for group in PROJECT["optional-dependencies"].values() for d in group] + PROJECT["dependencies"]
    assert [d for d in bounds if re.search(r"==|<|~=", d)] == [], "the package has lower bounds only"


def test_types_are_shipped():
    assert (resources.files("stitchwork") / "py.typed").is_file()
    assert any("py.typed" in pattern for pattern in _setuptools()["package-data"]["stitchwork"])


def _setuptools():
    return tomllib.loads(text("pyproject.toml"))["tool"]["setuptools"]


# The floors of the house

FLOORS = {
    "presets": set(),
    "provenance": set(),
    "layers": {"layers"},
    "blocks": {"blocks", "layers"},
    "models": {"models", "blocks", "layers"},
    "registry": {"blocks", "models", "layers", "weights"},  # weights: inside create_model, when they are asked for
    "weights": {"weights", "models", "registry", "provenance"},
    "reparameterise": set(),
    "losses": {"losses"},
    "data": {"data"},
    "training": {"training"},
    "analysis": {"analysis"},
    "figures": {"figures"},
    "inference": set(),
    "image_files": {"data", "figures", "inference"},
    "report": {"analysis", "figures", "inference"},
    "onnx_export": set(),
    "notebooks": {"presets", "provenance"},
    "comparisons": {"analysis"},
    "encoder_decoder": {"layers", "registry"},
    "scaling": {"analysis", "layers", "models"},
    "stitching": {"analysis", "registry"},
    "errata": {"errata", "analysis", "blocks", "layers", "registry"},
    "transcriptions": {"transcriptions"},
    "bench": {"bench", "analysis", "provenance", "registry", "reparameterise", "transcriptions", "weights"},
    "__init__": {"encoder_decoder", "presets", "provenance", "registry", "reparameterise", "stitching"},
}
PARENTS = {
    "data": {"layers", "provenance"},
    "training": {"data", "layers", "losses"},
    "analysis": {"layers", "registry", "provenance"},
}
PARENTS["figures"] = {"analysis", "layers", "blocks", "models", "registry"}


def imports(path):
    """The parts of the package that a file imports, as (floor, line)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module] if node.module != "stitchwork" else [f"stitchwork.{a.name}" for a in node.names]
        for name in names:
            if name.startswith("stitchwork."):
                yield name.split(".")[1], node.lineno


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_each_floor_imports_from_below(path):
    floor = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if floor == "cli":
        return  # the top floor
    allowed = FLOORS[floor] | PARENTS.get(floor, set())
    wrong = [f"line {line}: {name}" for name, line in imports(path) if name not in allowed]
    assert not wrong, wrong


def test_blocks_and_models_know_nothing_of_what_uses_them():
    above = {"data", "training", "analysis", "figures", "cli", "bench", "notebooks"}
    for folder in ("layers", "blocks", "models"):
        assert not above & FLOORS[folder]


# Static checks


def lint(tree, floor):
    """What must not be in the package, with the line; ``floor`` is the first folder or file name."""
    core = floor in ("layers", "blocks", "models")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("forward"):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Call) and ast.unparse(inner.func).endswith("Parameter"):
                    yield inner.lineno, "a Parameter made in forward is never trained"
        if isinstance(node, ast.Assign) and core:
            own = any(ast.unparse(target).startswith("self.") for target in node.targets)
            if own and isinstance(node.value, ast.List | ast.ListComp | ast.Tuple) and "nn." in ast.unparse(node.value):
                yield node.lineno, "modules in a plain list are not registered"
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {keyword.arg for keyword in node.keywords}
        if name.endswith(".cuda"):
            yield node.lineno, ".cuda() ties the code to one device"
        if name.endswith((".softmax", ".log_softmax", "nn.Softmax", "nn.LogSoftmax")) and "dim" not in keywords:
            least = 0 if name.endswith("Softmax") else 2 if re.fullmatch(r"(F|torch)\.\w+", name) else 1
            if len(node.args) < max(least, 1):
                yield node.lineno, "softmax without dim"
        if name == "print" and core:
            yield node.lineno, "print"
        if re.fullmatch(r"F\.\w*dropout\w*", name) and "training" not in keywords and len(node.args) < 3:
            yield node.lineno, "F.dropout drops in evaluation too unless it is told training="


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_static_checks(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(lint(tree, path.relative_to(SOURCE).parts[0])) == []


@pytest.mark.parametrize(
    ("code", "clean"),
    [
        ("x.cuda()", "x.to(device)"),
        ("F.softmax(x)", "F.softmax(x, 1)"),
        ("x.softmax()", "x.softmax(-1)"),
        ("nn.Softmax()", "nn.Softmax(dim=1)"),
        ("print(x)", "text(x)"),
        ("F.dropout(x, 0.5)", "F.dropout(x, 0.5, self.training)"),
        ("def forward(self):\n    w = nn.Parameter(x)", "def __init__(self):\n    self.w = nn.Parameter(x)"),
        ("self.a = [nn.Linear(2, 2)]", "self.a = nn.ModuleList([nn.Linear(2, 2)])"),
        ("self.a = [nn.Linear(2, 2) for _ in x]", "self.a = [2 for _ in x]"),
    ],
)
def test_static_checks_can_fail(code, clean):
    assert len(list(lint(ast.parse(code), "blocks"))) == 1
    assert list(lint(ast.parse(clean), "blocks")) == []


# What is written in several places

PAPERS = ("README.md", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md", "_config.yml")


def test_repository_is_the_same_everywhere():
    url = PROJECT["urls"]["Repository"]
    assert url == stitchwork.REPOSITORY
    for file in SOURCE.rglob("*.py"):
        assert url not in file.read_text(encoding="utf-8"), f"{file.name}: take stitchwork.REPOSITORY"
    owner = url.removeprefix("https://github.com/")
    for name in PAPERS:
        found = re.findall(r"github\.com/([\w.-]+/stitchwork)\b", text(name)) + re.findall(
            r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/", text(name)
        )
        assert set(found) <= {owner}, name
    assert yaml.safe_load(text("CITATION.cff"))["repository-code"] == url
    assert yaml.safe_load(text("_config.yml"))["repository"]["url"] == url


def test_version_is_the_same_everywhere():
    version = PROJECT["version"]
    citation = yaml.safe_load(text("CITATION.cff"))
    newest, date = re.search(r"^## \[(\d[\w.]*)\] - (\S+)$", text("CHANGELOG.md"), re.M).groups()
    assert stitchwork.__version__ == metadata.version("stitchwork") == version == citation["version"] == newest
    assert str(citation["date-released"]) == date


def test_citation_has_what_the_format_requires():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0" and citation["type"] in ("software", "dataset")
    assert all("name" in author or "family-names" in author for author in citation["authors"])
    assert citation["license"] == re.split(" AND ", PROJECT["license"])


def test_licences_are_complete():
    apache, creative = text("LICENSE"), text("LICENSE-TEXT")
    assert "Version 2.0, January 2004" in apache and "9. Accepting Warranty" in apache and "APPENDIX" in apache
    assert creative.startswith("Attribution 4.0 International")
    assert all(f"Section {n} -- " in creative for n in range(1, 9))


def test_readme_code_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", text("README.md"), re.S)
    assert len(blocks) >= 2
    # In one process, which imports the libraries once; each block sees nothing of the others.
    run(f"for block in {blocks!r}:\n    exec(block, {{}})", cwd=tmp_path)


def test_readme_commands_exist():
    from typer.main import get_command

    from stitchwork.cli import app

    commands = set(get_command(app).commands)
    used = set(re.findall(r"^stitchwork (\w+)", text("README.md"), re.M))
    assert used == commands
    targets = set(re.findall(r"^(\w+):", text("Makefile"), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text("README.md") + text("CONTRIBUTING.md"), re.M)) <= targets


def test_links_to_files_of_the_repository_exist():
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text(name)):
            assert (ROOT / target).exists(), f"{name}: {target}"
    for chapter in re.findall(r"blob/main/(notebooks/[\w]+\.ipynb)", text("README.md")):
        assert (ROOT / chapter).exists(), chapter


def test_readme_has_a_colab_link_for_each_chapter():
    linked = set(re.findall(r"blob/main/notebooks/(\w+)\.ipynb", text("README.md")))
    assert linked == {path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb") if ".failed" not in path.name}


# Workflows


def steps(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_are_workflows():
    assert {path.stem for path in WORKFLOWS} == {"tests", "book", "notebooks-weekly", "gpu"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_workflow_is_well_formed(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert True in workflow  # YAML reads the key `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    for job in workflow["jobs"].values():
        assert "timeout-minutes" in job and "runs-on" in job
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/checkout@v4"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_workflow_calls_what_exists(path):
    from typer.main import get_command

    from stitchwork.cli import app

    commands = "\n".join(step["run"] for step in steps(path) if "run" in step)
    targets = set(re.findall(r"^(\w+):", text("Makefile"), re.M))
    assert set(re.findall(r"\bmake (\w+)", commands)) <= targets
    assert set(re.findall(r"\bstitchwork (\w+) ", commands)) <= set(get_command(app).commands)
    extras = {extra for group in re.findall(r'"\.\[([\w,]+)\]"', commands) for extra in group.split(",")}
    assert extras <= set(PROJECT["optional-dependencies"])
    for file in re.findall(r"(?<![\w/.$])((?:tests|book|src|notebooks)/[\w./]*|requirements\.txt|\.ci/run)", commands):
        assert (ROOT / file).exists(), file


def test_oldest_torch_in_the_workflow_is_the_lower_bound():
    bound = next(d for d in PROJECT["dependencies"] if d.startswith("torch")).removeprefix("torch>=")
    assert f"torch=={bound}.0 " in text(".github/workflows/tests.yml")


def test_hooks_use_the_pinned_versions():
    pinned = dict(
        line.split("==") for line in re.findall(r"^(?:ruff|codespell)==[\d.]+", text("requirements.txt"), re.M)
    )
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    found = {re.sub("-pre-commit$", "", repo["repo"].rsplit("/", 1)[1]): repo["rev"].lstrip("v") for repo in hooks}
    assert found == pinned
