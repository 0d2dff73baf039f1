"""`nb201-analog`: the embedded table, from the pinned file of an installed package that is never imported."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from nasbench_sim.errors import NotMeasured, TableError
from nasbench_sim.tables import analog
from nasbench_sim.tables.analog import KEY, load_analog
from nasbench_sim.tables.table import Key

ASKED: dict[str, Any] = KEY._asdict()


def test_every_cell_has_one_number() -> None:
    table = load_analog()
    values = table.values(**ASKED)
    assert values.shape == (15_625,)
    assert 9 < values.min() < values.max() < 95
    assert "analognasbench" not in sys.modules


def test_operations_and_edges_were_converted_by_name() -> None:
    table = load_analog()
    best = table.space.strings[int(np.argmax(table.values(**ASKED)))]  # type: ignore[attr-defined]
    assert best == "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    all_skip = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
    assert table.query(all_skip, **ASKED) == 60.7836
    all_none = all_skip.replace("skip_connect", "none")
    assert table.query(all_none, **ASKED) == 10.0


def test_it_does_not_claim_a_split_it_cannot_know() -> None:
    table = load_analog()
    assert table.search_key == KEY == Key("cifar10", "baseline", "unstated", "single")
    assert dict(table.report_keys) == {"accuracy": KEY}
    assert "in-sample" in table.remark
    for split in ("valid", "test"):
        with pytest.raises(NotMeasured, match="Known: baseline"):
            table.query(0, dataset="cifar10", split=split, epochs=200, seed="mean")
    with pytest.raises(NotMeasured, match="Known: unstated"):
        table.query(0, dataset="cifar10", split="baseline", epochs=200, seed="single")


def test_it_is_loaded_once_and_stamped() -> None:
    assert load_analog() is load_analog()
    assert len(load_analog().sha256) == 64


def test_another_file_is_refused(tmp_path: Path) -> None:
    data = analog._locate().read_bytes()
    path = tmp_path / "data.anb"
    for wrong in (data[:-1], data + b"x", data[:1000] + b"\x00" + data[1001:], b""):
        path.write_bytes(wrong)
        with pytest.raises(TableError, match=r"--force-reinstall analog-nasbench==0\.1\.3"):
            analog._pinned_bytes(path)
    with pytest.raises(TableError, match="cannot be read"):
        analog._pinned_bytes(tmp_path / "none")


def test_another_version_and_no_package_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        version = "0.2.0"

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Other())
    with pytest.raises(TableError, match=r"version 0\.2\.0.*analog-nasbench==0\.1\.3"):
        analog._locate()

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(TableError, match="not installed"):
        analog._locate()


@pytest.mark.real
def test_it_ranks_cells_as_the_real_benchmark_does(nb201_table: Any) -> None:
    real = nb201_table.values(dataset="cifar10", split="test", epochs=200, seed="mean")
    assert spearmanr(load_analog().values(**ASKED), real).statistic == pytest.approx(0.991, abs=5e-4)
