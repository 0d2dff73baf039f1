"""The shipped proxy column: on which tables, beside which others, and what happens to a damaged file."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from nasbench_sim.errors import NotMeasured, TableError
from nasbench_sim.resources import data_path
from nasbench_sim.tables import open_table, shipped
from nasbench_sim.tables.columns import check_column
from nasbench_sim.tables.store import read_table, write_table
from nasbench_sim.tables.table import Table
from tests.tables.helpers import SPACE, small_table

NAME = "synflow-mean"


@pytest.fixture
def fresh() -> Iterator[None]:
    shipped._columns.cache_clear()
    yield
    shipped._columns.cache_clear()


def test_every_cell_of_the_embedded_table_has_it() -> None:
    table = open_table("nb201-analog")
    column = table.proxy(NAME, dataset="cifar10")
    assert column.dtype == np.float32 and not column.flags.writeable and np.isfinite(column).all()
    connected = np.array([_flows(cell) for cell in SPACE.all.tolist()])
    assert np.array_equal(column > 0, connected) and int((~connected).sum()) == 341
    assert float(column[connected].min()) > 12 and int(column.argmax()) == 1_462  # six 3x3 convolutions
    assert ("proxy/" + NAME, "cifar10") not in table.metrics  # a table's content and sha256 are its own


def _flows(cell: list[int]) -> bool:
    return any(all(cell[e] for e in path) for path in ((3,), (0, 4), (1, 5), (0, 2, 5)))


def test_it_is_there_on_the_data_sets_of_a_table_and_on_no_others() -> None:
    table = small_table()
    assert table.proxies("cifar10") == [NAME] and table.proxies("cifar100") == []
    with pytest.raises(NotMeasured, match="cifar100"):
        table.proxy(NAME, dataset="cifar100")
    assert shipped.shipped("nb101") == {} and {d for _, d in shipped.shipped("nb201")} == {
        "cifar10",
        "cifar100",
        "ImageNet16-120",
    }


def test_the_tables_own_column_of_that_name_goes_first_and_synflow_is_another(tmp_path: Path) -> None:
    own = check_column(np.arange(SPACE.size), what="own", kind="proxy/x", size=SPACE.size)
    table = small_table()
    mine = replace(
        table, metrics={**table.metrics, (f"proxy/{NAME}", "cifar10"): own, ("proxy/synflow", "cifar10"): own}
    )
    write_table(mine, tmp_path / "t.h5")
    back = read_table(tmp_path / "t.h5")
    assert np.array_equal(back.proxy(NAME, dataset="cifar10"), own) and back.proxies("cifar10") == ["synflow", NAME]
    other = replace(table, metrics={**table.metrics, ("proxy/synflow", "cifar10"): own})
    assert not np.array_equal(other.proxy(NAME, dataset="cifar10"), other.proxy("synflow", dataset="cifar10"))
    with pytest.raises(NotMeasured, match=f"did you mean '{NAME}'"):
        table.proxy("synflow", dataset="cifar10")  # never in place of the published one


def damaged(kind: str) -> bytes:
    data = data_path(shipped.FILE).read_bytes()
    text = gzip.decompress(data).decode()
    lines = text.splitlines()
    swapped = [lines[0], lines[2], lines[1], *lines[3:]]
    return {
        "cut": data[:5_000],
        "not gzip": text.encode(),
        "flipped": data[:3_000] + bytes([data[3_000] ^ 255]) + data[3_001:],
        "short": gzip.compress("\n".join(lines[:-1]).encode()),
        "swapped": gzip.compress("\n".join(swapped).encode()),
        "hole": gzip.compress("\n".join([*lines[:-1], "15624,nan,1,1"]).encode()),
        "text": gzip.compress("\n".join([*lines[:-1], "15624,x,1,1"]).encode()),
        "ragged": gzip.compress("\n".join([*lines[:-1], "15624,1"]).encode()),
        "header": gzip.compress(text.replace("synflow-mean/cifar10,", "snip/cifar10,").encode()),
        "empty": gzip.compress(b""),
        "bomb": gzip.compress(text.encode() + b"0" * 5_000_000),
        "not ascii": gzip.compress("ä".encode()),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "cut",
        "not gzip",
        "flipped",
        "short",
        "swapped",
        "hole",
        "text",
        "ragged",
        "header",
        "empty",
        "bomb",
        "not ascii",
    ],
)
def test_a_damaged_file_is_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    (tmp_path / shipped.FILE).write_bytes(damaged(kind))
    monkeypatch.setattr(shipped, "data_path", lambda name: tmp_path / name)
    with pytest.raises(TableError, match="nb201_synflow") as caught:
        small_table().proxy(NAME, dataset="cifar10")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    monkeypatch.setattr(shipped, "data_path", lambda name: tmp_path / name)
    with pytest.raises(TableError, match="reinstall"):
        small_table().proxies("cifar10")


@pytest.mark.real
@pytest.mark.parametrize(("dataset", "rho", "sd"), [("cifar10", 0.99983, 0.0790), ("ImageNet16-120", 0.99987, 0.0701)])
def test_it_orders_cells_as_the_published_column(nb201_table: Table, dataset: str, rho: float, sd: float) -> None:
    """The mean over initialisations against one initialisation of another code, on the 9,445 cells that have both."""
    published, ours = (nb201_table.proxy(name, dataset=dataset) for name in ("synflow", NAME))
    both = np.isfinite(published)
    assert int(both.sum()) == 9_445
    assert spearmanr(published[both], ours[both]).statistic == pytest.approx(rho, abs=1e-5)
    assert np.array_equal(published[both] == 0, ours[both] == 0)
    difference = (ours - published)[both & (published > 0)]
    assert difference.std() == pytest.approx(sd, abs=1e-3) and abs(difference.mean()) < 0.01
