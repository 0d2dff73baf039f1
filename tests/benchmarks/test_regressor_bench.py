"""How well unmeasured modules of nb1shot1-1 are predicted, with the settings in use and with others.

Run with `pytest tests/benchmarks/test_regressor_bench.py --benchmark-only --benchmark-enable`. No time is asserted; the
held-out quality of each setting is in extra_info (`regressor.Quality`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.tables import regressor
from nasbench_sim.tables.modules import ModuleTable
from nasbench_sim.tables.nb1shot1 import build
from nasbench_sim.tables.nb101 import read_nb101
from nasbench_sim.tables.regressor import FAILED, SETTINGS, features, predict

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def modules(shared_data: Path) -> ModuleTable:
    """151,644 modules; space 1 has 802 of them."""
    return read_nb101(shared_data / "nb101_sample_108ep.csv.gz")


@pytest.mark.benchmark(group="predict nb1shot1-1")
@pytest.mark.parametrize(
    "other", [{}, {"loss": "squared_error"}, {"max_iter": 600}], ids=["in use", "squared error", "600 trees"]
)
def test_held_out_quality(
    benchmark: Any, modules: ModuleTable, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    monkeypatch.setattr(regressor, "SETTINGS", {**SETTINGS, **other})
    table = build(modules, "nb1shot1-1")
    seen, y = features(table.space), np.full(2_685, np.nan)
    y[seen.unit] = table.accuracy[table.search_key]
    ask = {"args": (seen.x, y, seen.group), "kwargs": {"top": 100.0, "failed": FAILED}}
    _, quality = benchmark.pedantic(predict, **ask, rounds=1)
    benchmark.extra_info.update(quality._asdict())
    assert quality.n == 802
