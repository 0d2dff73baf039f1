"""What opening, checking and asking learning curves costs, beside the official nats_bench on the same numbers.

Run with `pytest tests/benchmarks --benchmark-only --benchmark-enable`. No time is asserted; sizes are in extra_info.
The curves are those of three architectures, in a file of full size (12.5 MB a series whatever is measured).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.spaces import NB201
from nasbench_sim.tables.curves import Curves, Series, curves_path
from nasbench_sim.tables.nats import import_official
from nasbench_sim.tables.nats_files import decoded
from nasbench_sim.tables.nats_pth import decoded_pth
from tests.tables.nats_factory import architecture, nb201_object
from tests.tables.test_nats_pth import old

SPACE = NB201()
CELLS = (0, 11, 284)
KEY: dict[str, Any] = {"dataset": "cifar100", "split": "valtest", "epochs": 200, "metric": "accuracy"}

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def sample(shared_data: Path) -> Path:
    return shared_data / "nats_tss_sample" / "NATS-tss-v1_0-3ffb9-simple"


@pytest.fixture(scope="module")
def path(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASBENCH_SIM_HOME", str(home))
        import_official(sample, "nats-tss", allow_missing=True)
        yield curves_path("nats-tss")
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def official(sample: Path) -> Any:
    """nats_bench 1.8. It unpickles its files, so only ever give it files you trust."""
    nats_bench = pytest.importorskip("nats_bench")
    return nats_bench.create(str(sample), "tss", fast_mode=True, verbose=False)


@pytest.fixture(scope="module")
def series(path: Path) -> Series:
    return Curves(path).series(**KEY, seed=777)


@pytest.mark.benchmark(group="learning curves: open")
def test_open(benchmark: Any, path: Path) -> None:
    curves = benchmark(Curves, path)
    benchmark.extra_info["bytes"] = path.stat().st_size
    assert len(curves.available) == 110
    assert path.stat().st_size // 10**6 == 644


@pytest.mark.benchmark(group="learning curves: read")
def test_first_use_of_a_series_checks_it(benchmark: Any, path: Path) -> None:
    out = benchmark(lambda: Curves(path).series(**KEY, seed=777).curves())
    assert out.shape == (SPACE.size, 200)


@pytest.mark.benchmark(group="learning curves: read")
def test_one_metric_of_one_data_set_in_memory(benchmark: Any, path: Path) -> None:
    series = Curves(path).series(**KEY, seed="mean")
    out = benchmark(series.stack)
    benchmark.extra_info["bytes"] = out.nbytes
    assert out.shape == (3, SPACE.size, 200)


@pytest.mark.benchmark(group="learning curves: read")
def test_check_everything(benchmark: Any, path: Path) -> None:
    curves = Curves(path)
    assert benchmark.pedantic(curves.verify, rounds=1, iterations=1) == 296


@pytest.mark.benchmark(group="one point of a curve")
@pytest.mark.parametrize("by", ["string", "index"])
def test_query(benchmark: Any, series: Series, by: str) -> None:
    arch = 11 if by == "index" else SPACE.strings[11]
    assert benchmark(series.query, arch, epoch=50) == pytest.approx(45.64)


@pytest.mark.benchmark(group="one point of a curve")
def test_nats_bench(benchmark: Any, official: Any) -> None:
    def ask() -> float:
        return float(official.get_more_info(11, "cifar100", iepoch=49, hp="200", is_random=777)["valtest-accuracy"])

    ask()  # warm: the file is read on the first question
    assert benchmark(ask) == pytest.approx(45.64)


@pytest.mark.benchmark(group="one epoch of every architecture")
def test_values(benchmark: Any, series: Series) -> None:
    assert np.isfinite(benchmark(series.values, epoch=50, missing="nan")).sum() == len(CELLS)


@pytest.mark.benchmark(group="read three architectures")
def test_decode(benchmark: Any, sample: Path) -> None:
    out = benchmark(lambda: dict(decoded(sample, SPACE)))
    assert tuple(out) == CELLS


@pytest.mark.benchmark(group="read three architectures")
def test_decode_pth(benchmark: Any, tmp_path: Path) -> None:
    """Made up, in the layout of a NAS-Bench-201 .pth file; the list of all architectures stands in it too."""
    path = tmp_path / "x.pth"
    path.write_bytes(old(nb201_object({cell: architecture(cell) for cell in CELLS})))
    out = benchmark(lambda: list(decoded_pth(path, SPACE)))
    benchmark.extra_info["bytes"] = path.stat().st_size
    assert {cell for cell, _ in out} == set(CELLS)
