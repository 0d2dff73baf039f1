"""Shared fixtures: one BLAS thread (bit-for-bit tests and two cores), and the real tables where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest  # noqa: E402  (the thread limits must be set before numpy is loaded)

if TYPE_CHECKING:
    from nasbench_sim.tables.table import Table

ROOT = Path(__file__).resolve().parent.parent


def _shared() -> Path | None:
    """`../shared/data` beside the checkout, or the folder named by NASBENCH_SIM_SHARED."""
    for folder in (Path(os.environ.get("NASBENCH_SIM_SHARED", "")), ROOT.parent / "shared" / "data"):
        if (folder / "raw" / "nasbench201_cifar10.csv").is_file():
            return folder
    return None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tables; skips where it is absent."""
    folder = _shared()
    if folder is None:
        pytest.skip("the real tables (../shared/data) are not beside this checkout")
    return folder


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own tables: NASBENCH_SIM_HOME points to a folder of the test session."""
    monkeypatch.setenv("NASBENCH_SIM_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture(scope="session")
def nb201_table(shared_data: Path) -> Table:
    """The full nb201 table, built once from the public originals and the 12-epoch file."""
    from nasbench_sim.tables.nb201 import build

    return build(shared_data / "raw")
