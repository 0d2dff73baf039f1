"""What reading NAS-Bench-101 from its own format costs, and opening a table of all of it.

Run with `pytest tests/benchmarks --benchmark-only --benchmark-enable`. No time is asserted; rates are in extra_info.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.spaces import NB1Shot1
from nasbench_sim.tables.module_builder import ModuleBuilder
from nasbench_sim.tables.module_codes import module_of
from nasbench_sim.tables.modules import (
    ALL_MODULES,
    ModuleTable,
    array_names,
    read_modules,
    verify_modules,
    write_modules,
)
from nasbench_sim.tables.nb1shot1 import class_modules
from nasbench_sim.tables.nb101_records import RecordDecoder
from nasbench_sim.tables.tfrecord import read_records
from tests.tables.tfrecords import metrics, numbers, record, write_tfrecord

SPACE = NB1Shot1(1)
KEY: dict[str, Any] = {"epochs": 108, "run": "run1", "split": "valid", "when": "final"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of space 1, four budgets, three runs: 32,220 records in the official layout."""
    rng = np.random.default_rng(0)
    modules = [module_of(int(code)) for code in class_modules(SPACE)]
    names = [name.decode() for name in SPACE.unique_hashes]
    records = [
        record(name, epochs, module, metrics(values, 3_000_000))
        for epochs in (4, 12, 36, 108)
        for _ in range(3)
        for name, module, values in zip(names, modules, numbers(rng, len(modules)), strict=True)
    ]
    return write_tfrecord(tmp_path_factory.mktemp("bench") / "x.tfrecord", records)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """423,624 made-up hashes with made-up numbers at four budgets: 181 MB, as nasbench_full.tfrecord gives."""
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (ALL_MODULES, 16), dtype=np.uint8)
    hashes = np.sort(np.array([row.tobytes().hex() for row in raw], dtype="S32"))
    hashes[0] = min(hashes[0], SPACE.unique_hashes[0])
    arrays: dict[str, Any] = {
        "hashes": hashes.view(np.uint8).reshape(-1, 32),
        "codes": np.resize(class_modules(SPACE), ALL_MODULES),
        "params": np.full(ALL_MODULES, 3_000_000, dtype=np.int32),
    }
    budgets = (4, 12, 36, 108)
    arrays |= {name: rng.random(ALL_MODULES, dtype=np.float32) for name in array_names(budgets)[3:]}
    path = tmp_path_factory.mktemp("bench") / "nb101.safetensors"
    write_modules(ModuleTable(arrays, budgets=budgets), path)
    return path


def read(file: Path) -> ModuleBuilder:
    builder, decoder = ModuleBuilder("x"), RecordDecoder("x")
    with file.open("rb") as raw:
        for first, records in read_records(raw, "x"):
            builder.add(decoder.decode(first, records), str)
    return builder


@pytest.mark.benchmark(group="nb101")
def test_records(benchmark: Any, file: Path) -> None:
    """Framing, both sums, JSON, base64, protocol buffers, into columns."""
    benchmark(read, file)
    if benchmark.stats:
        benchmark.extra_info["records a second"] = round(32_220 / benchmark.stats["mean"])


@pytest.mark.benchmark(group="nb101")
def test_hashes_of_what_was_read(benchmark: Any, file: Path) -> None:
    table = benchmark.pedantic(lambda: read(file).finish([]), rounds=3)
    assert table.size == len(SPACE.unique_hashes)


@pytest.mark.benchmark(group="nb101")
@pytest.mark.parametrize("what", ["open", "open and first answer", "verify"])
def test_a_table_of_everything(benchmark: Any, kept: Path, what: str) -> None:
    def ask() -> int:
        table = read_modules(kept)
        if what == "verify":
            verify_modules(table)
        elif what == "open and first answer":
            return len(table.values(**KEY)) * table.size
        return 0

    benchmark(ask)
    benchmark.extra_info["bytes"] = kept.stat().st_size
