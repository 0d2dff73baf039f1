"""The wheel: built from the project's files alone, installed alone, and used from somewhere else."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import nasbench_sim
from tests.test_house import ROOT, project_files

pytestmark = pytest.mark.slow

USE = """
import sys
from pathlib import Path
import nasbench_sim as nb
import gpu_validation
from nasbench_sim.reporting import compare, published_rows, write_report
from nasbench_sim.resources import data_path

assert Path(nb.__file__).is_relative_to(sys.argv[1]), nb.__file__
assert Path(gpu_validation.__file__).is_relative_to(sys.argv[1]), gpu_validation.__file__
assert data_path().is_relative_to(sys.argv[1]), data_path()
table = nb.open_table("nb201-analog")
run = nb.search("darts", table=table, dataset="cifar10", landscape="shared", seeds=2, epochs=2, steps_per_epoch=5,
                out="run")
assert run.archs.shape == (2, 6)
assert published_rows("darts", "cifar10")
page = write_report([run], Path("report.html"), compare([run]))
print(page.stat().st_size)
"""


def _run(*command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{' '.join(command[:6])} ...\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the project's files, built offline."""
    for needed in ("build", "hatchling"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: pip install '.[test]'")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("these tests do not stand in a source checkout")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for path in project_files():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), ".", cwd=copy, PYTHONPATH="")
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    _run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check",
        "--target", str(folder), str(wheel), cwd=folder,
    )  # fmt: skip
    return folder


def test_what_the_wheel_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    published = {p.name for p in (ROOT / "data" / "published").glob("*.json")}
    assert len(published) >= 5
    expected = {f"nasbench_sim/_data/published/{name}" for name in published}
    expected |= {"nasbench_sim/_data/shared_weights.json", "nasbench_sim/_data/logged_cells.json"}
    expected |= {f"nasbench_sim/reporting/{name}" for name in ("report.html.j2", "fidelity.html.j2", "page.css")}
    for package in ("nasbench_sim", "gpu_validation"):
        expected.add(f"{package}/py.typed")
        sources = (p.relative_to(ROOT).as_posix() for p in project_files() if p.suffix == ".py")
        expected |= {name for name in sources if name.startswith(f"{package}/")}
    assert expected <= names, sorted(expected - names)
    (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
    assert info == f"nasbench_sim-{nasbench_sim.__version__}.dist-info"
    assert f"{info}/licenses/LICENSE" in names
    assert {name.split("/")[0] for name in names} == {"nasbench_sim", "gpu_validation", info}
    assert not [name for name in names if "test" in name.lower() or name.endswith((".pyc", ".anb"))]
    recordings = {name for name in names if name.endswith(".h5")}
    assert recordings == {
        f"nasbench_sim/_data/{p.relative_to(ROOT / 'data').as_posix()}" for p in (ROOT / "data").rglob("*.h5")
    }
    assert "nasbench_sim/_data/nb201-mini.h5" in recordings


def test_the_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        about = Parser().parsestr(archive.read(name).decode())
        (entry,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
        scripts = archive.read(entry).decode()
    assert (about["Name"], about["Version"]) == ("nasbench-sim", nasbench_sim.__version__)
    assert about["License-Expression"] == "MIT"
    assert set(about.get_all("Provides-Extra", [])) >= {"gpu", "parquet", "test"}
    assert "nasbench-sim = nasbench_sim.cli:main" in scripts and "gpu-validation = gpu_validation.cli:main" in scripts
    assert "analog-nasbench==0.1.3" in about.get_all("Requires-Dist", [])
    assert str(about.get_payload()).startswith("# nasbench-sim")


def test_the_wheel_works_from_anywhere(site: Path, tmp_path: Path) -> None:
    done = _run(sys.executable, "-c", USE, str(site), cwd=tmp_path, PYTHONPATH=str(site), PYTHONNOUSERSITE="1")
    assert int(done.stdout) > 50_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "run"]


@pytest.mark.parametrize("program", ["nasbench-sim", "gpu-validation"])
def test_the_scripts_run(site: Path, tmp_path: Path, program: str) -> None:
    script = site / "bin" / program
    done = _run(sys.executable, str(script), "--version", cwd=tmp_path, PYTHONPATH=str(site))
    assert done.stdout == f"{program} {nasbench_sim.__version__}\n"
