"""The rules of the house, read from the sources: layers, size, randomness, code that runs other code, docstrings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("nasbench_sim", "gpu_validation")
LAYERS = ("spaces", "tables", "compat", "landscapes", "ensembles", "searchers", "runs", "reporting", "cli")
BASE = ("errors", "files", "resources", "sealed", "streams")  # below all layers
NOT_OURS = {"__pycache__", "build", "dist"}
GENERATORS = {"default_rng", "Generator", "BitGenerator", "Philox", "PCG64", "SeedSequence"}
RUNS_CODE = {("pickle", "load"), ("pickle", "loads"), ("pickle", "Unpickler"), ("torch", "load"), ("marshal", "loads")}


def project_files() -> list[Path]:
    """The files of the project: what git tracks or would track; in a copy without git, all but what a run leaves."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode == 0 and (ROOT / ".git").exists():
        names = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    else:
        every = (p.relative_to(ROOT) for p in ROOT.rglob("*"))
        ours = (".ci", ".gitignore")
        every = (p for p in every if p.parts[0] != "runs")  # where `reproduce` writes by default
        names = [p for p in every if p.parts[0] in ours or not any(_left_by_a_run(part) for part in p.parts)]
    return sorted(ROOT / name for name in names if (ROOT / name).is_file())


def _left_by_a_run(part: str) -> bool:
    return part in NOT_OURS or part.startswith(".") or part.endswith((".egg-info", ".pyc"))


SOURCES = [p for p in project_files() if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in PACKAGES]
TREES = {str(p.relative_to(ROOT)): ast.parse(p.read_text(encoding="utf-8")) for p in SOURCES}


def imported(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, full name) of everything that a module imports, also inside functions; names of relative ones resolved."""
    package = name.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def rank(parts: list[str]) -> int | None:
    """0 for the base, 1.. for the layers; None for what is above them all (the package's face)."""
    if len(parts) < 2:
        return None
    return 0 if parts[1] in BASE else LAYERS.index(parts[1]) + 1 if parts[1] in LAYERS else None


def wrong_imports(name: str, tree: ast.Module) -> list[str]:
    """Imports of a module of nasbench_sim that go up the layers, or to the other package."""
    here = rank(name.removesuffix(".py").removesuffix("/__init__").split("/"))
    out = []
    for line, target in imported(name, tree):
        parts = target.split(".")
        if parts[0] == "gpu_validation" and name.startswith("nasbench_sim"):
            out.append(f"{name}:{line} imports {target}")
        if parts[0] != "nasbench_sim" or here is None or not name.startswith("nasbench_sim"):
            continue
        there = rank(parts)
        face = there is None and parts[1:] != ["__version__"]
        if face or (there is not None and there > here):
            out.append(f"{name}:{line} imports {target}")
    return out


def test_there_is_something_to_read() -> None:
    assert len(TREES) > 50
    assert {name.split("/")[1].removesuffix(".py") for name in TREES if name.startswith("nasbench_sim/")} >= {
        *LAYERS,
        *BASE,
    }


def test_every_module_stands_in_a_layer() -> None:
    known = {*LAYERS, *BASE, "__init__"}
    inside = {name.split("/")[1].removesuffix(".py") for name in TREES if name.startswith("nasbench_sim/")}
    assert inside <= known, "name the place of a new module in LAYERS or BASE"


@pytest.mark.parametrize("name", TREES)
def test_imports_go_one_way(name: str) -> None:
    assert wrong_imports(name, TREES[name]) == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nasbench_sim/spaces/x.py", "from nasbench_sim.tables.table import Table"),
        ("nasbench_sim/runs/x.py", "import nasbench_sim.reporting"),
        ("nasbench_sim/tables/x.py", "def f():\n    from ..landscapes import base"),
        ("nasbench_sim/files.py", "from nasbench_sim.spaces import NB201"),
        ("nasbench_sim/cli/x.py", "import gpu_validation.doctor"),
        ("nasbench_sim/runs/x.py", "import nasbench_sim"),
        ("nasbench_sim/__init__.py", "from gpu_validation import examine"),
    ],
)
def test_a_wrong_import_would_be_seen(name: str, line: str) -> None:
    assert len(wrong_imports(name, ast.parse(line))) == 1


@pytest.mark.parametrize("path", [p for p in project_files() if p.suffix == ".py"], ids=lambda p: p.name)
def test_files_are_of_a_size_one_can_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute chain, else nothing."""
    if isinstance(node, ast.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr}" if front else ""
    return node.id if isinstance(node, ast.Name) else ""


def bad_habits(name: str, tree: ast.Module) -> list[str]:
    """Global random numbers, loaders and builtins that run code, shells, and bare excepts."""
    out = []
    standard_random = any(target == "random" for _, target in imported(name, tree))
    for line, target in imported(name, tree):
        if re.fullmatch(r"(numpy\.random|random)\.\w+", target) and target.split(".")[-1] not in GENERATORS:
            out.append(f"{name}:{line} {target}")
        if tuple(target.rsplit(".", 1)) in RUNS_CODE:
            out.append(f"{name}:{line} {target}")
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            out.append(f"{name}:{node.lineno} bare except")
        if isinstance(node, ast.Attribute):
            parts = dotted(node).split(".")
            if parts[:2] in (["np", "random"], ["numpy", "random"]) and len(parts) == 3 and parts[2] not in GENERATORS:
                out.append(f"{name}:{node.lineno} {'.'.join(parts)}")
            seeded = name == "nasbench_sim/spaces/nb201.py" and parts == ["random", "Random"]
            if standard_random and parts[0] == "random" and len(parts) == 2 and not seeded:
                out.append(f"{name}:{node.lineno} {'.'.join(parts)}")
            allow_list = name == "nasbench_sim/tables/unpickle.py" and parts == ["pickle", "Unpickler"]
            if tuple(parts) in RUNS_CODE and not allow_list:
                out.append(f"{name}:{node.lineno} {'.'.join(parts)}")
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                out.append(f"{name}:{node.lineno} {node.func.id}")
            if dotted(node.func) in ("os.system", "os.popen") or any(
                k.arg == "shell" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
                for k in node.keywords
            ):
                out.append(f"{name}:{node.lineno} a shell")
    return out


@pytest.mark.parametrize("name", TREES)
def test_no_hidden_randomness_and_no_code_from_files(name: str) -> None:
    assert bad_habits(name, TREES[name]) == []


@pytest.mark.parametrize(
    "line",
    [
        "import numpy as np\nnp.random.seed(0)",
        "import numpy as np\nx = np.random.rand(3)",
        "from numpy.random import randint",
        "import random\nrandom.shuffle(x)",
        "import random\nr = random.Random(0)",
        "from random import choice",
        "import pickle\npickle.loads(b'')",
        "from pickle import load",
        "import pickle\nclass U(pickle.Unpickler):\n    pass",
        "import torch\ntorch.load('x')",
        "eval('1')",
        "exec('1')",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "import os\nos.system('x')",
        "try:\n    pass\nexcept:\n    pass",
    ],
)
def test_a_bad_habit_would_be_seen(line: str) -> None:
    assert len(bad_habits("nasbench_sim/runs/x.py", ast.parse(line))) == 1


def test_good_habits_are_let_through() -> None:
    good = "import random\nr = random.Random(0)"
    assert bad_habits("nasbench_sim/spaces/nb201.py", ast.parse(good)) == []
    good = "from nasbench_sim.searchers.recipes import random\nrandom.random()\nmodel.eval()\nnp.random.default_rng(0)"
    assert bad_habits("nasbench_sim/runs/x.py", ast.parse(good)) == []


def undocumented(name: str, tree: ast.Module) -> list[str]:
    """Public modules, classes, functions and methods without a docstring; a class that is private is not entered."""
    out = [] if ast.get_docstring(tree) else [name]
    stack: list[tuple[str, ast.stmt]] = [(name, node) for node in tree.body]
    while stack:
        where, node = stack.pop()
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        bases = [dotted(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
        if not ast.get_docstring(node):
            out.append(f"{where}:{node.lineno} {node.name}")
        if isinstance(node, ast.ClassDef) and "Protocol" not in bases:
            stack += [(f"{where}:{node.name}", child) for child in node.body]
    return out


@pytest.mark.parametrize("name", TREES)
def test_everything_public_has_a_docstring(name: str) -> None:
    assert undocumented(name, TREES[name]) == []


def test_a_missing_docstring_would_be_seen() -> None:
    source = '"""M."""\nclass A:\n    """A."""\n    def f(self):\n        pass\n    def _g(self):\n        pass\n'
    assert undocumented("m", ast.parse(source)) == ["m:A:4 f"]


_FOLDERS = "|".join(("work", "tmp", "home", "root"))
MACHINE = re.compile(rf"(?<![\w.}}$~*)-])/(?:{_FOLDERS})(?:/|\b)")


def test_no_paths_of_a_machine() -> None:
    found = []
    for path in project_files():
        data = path.read_bytes()
        if b"\0" in data[:4096]:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if MACHINE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}")
    assert found == []


def test_a_path_of_a_machine_would_be_seen() -> None:
    for folder in _FOLDERS.split("|"):
        assert MACHINE.search(f'open("/{folder}/x")')
        assert not MACHINE.search(f"see ../{folder}/x, a/{folder} or {folder}/x")


def test_import_is_clean_and_light() -> None:
    """No warning, and nothing heavy that a search does not need."""
    heavy = ("matplotlib", "torch", "pyarrow", "pandas", "typer", "gpu_validation")
    code = f"import nasbench_sim, sys; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")
