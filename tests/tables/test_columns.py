"""What a column may hold: kinds and ranges, and float32 that keeps the order of float64 where only order counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import rankdata

from nasbench_sim.errors import NotMeasured, TableError
from nasbench_sim.tables.columns import RANGES, FloatArray, check_column, family, in_order, may_have_holes
from nasbench_sim.tables.manifest import content_sha256
from nasbench_sim.tables.store import read_table, write_table
from nasbench_sim.tables.table import Table
from tests.tables.helpers import SPACE, small_table

NUMBERS = st.floats(-1e38, 1e38, allow_nan=False)
# a number, and neighbours so near that float32 cannot tell them from it
CLUSTERS = st.builds(lambda x, steps: [x + k * abs(x) * 1e-15 for k in steps], NUMBERS, st.lists(st.integers(0, 9)))


@given(st.lists(st.one_of(NUMBERS, st.just(float("nan")))), CLUSTERS)
@example([0.0, -0.0, 5e-324, 1e-46, -1e-46], [])
@example([1e38, float(np.nextafter(1e38, 0))], [])
def test_the_order_survives_exactly(spread: list[float], near: list[float]) -> None:
    values = np.clip(np.array([*spread, *near, *spread[:3]]), -1e38, 1e38)
    out = in_order(values)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(out), np.isnan(values))
    there = ~np.isnan(values)
    np.testing.assert_array_equal(rankdata(out[there]), rankdata(values[there]))
    # nothing moves by more float32 steps than there are values to keep apart
    plain = values[there].astype(np.float32)
    room = len(plain) * np.maximum(np.spacing(np.abs(plain)), np.spacing(np.abs(out[there])))
    assert np.all(np.abs(out[there].astype(np.float64) - plain) <= room)


@given(st.lists(st.floats(width=32, allow_infinity=False), min_size=1))
def test_what_is_float32_already_stays(values: list[float]) -> None:
    np.testing.assert_array_equal(in_order(np.array(values)), np.array(values, dtype=np.float32))


def test_only_proxies_are_kept_apart() -> None:
    near = np.array([1.0, 1.0 + 1e-12])
    assert len(np.unique(check_column(near, what="p", kind="proxy/synflow", size=2))) == 2
    assert len(np.unique(check_column(near, what="m", kind="latency_ms/fpga", size=2))) == 1


@pytest.mark.parametrize(
    ("kind", "holes"),
    [
        ("accuracy", True),
        ("params_m", False),
        ("train_time_s", False),
        ("proxy/synflow", True),
        ("latency_ms/edgegpu", True),
        ("proxy", False),
    ],
)
def test_which_kinds_may_have_holes(kind: str, holes: bool) -> None:
    assert may_have_holes(kind) is holes


def test_every_family_has_a_range() -> None:
    assert [family(f"{name}x") for name in RANGES if name.endswith("/")] == [n for n in RANGES if n.endswith("/")]
    assert [family(name) for name in RANGES] == list(RANGES)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (
            "proxy/synflow",
            np.inf,
            r"row 1 holds inf, outside -1e\+38\.\.1e\+38; only its order counts, so give its",
        ),
        ("proxy/synflow", 1e49, r"row 1 holds 1e\+49, outside"),  # a raw SynFlow score: too large for float32
        ("latency_ms/edgetpu", -1, r"row 1 holds -1\.0, outside 0\.\."),
        ("energy_mj/fpga", -0.5, "outside 0"),
        ("arithmetic_intensity/eyeriss", -0.5, "outside 0"),
        ("latency_ms/edgetpu", np.inf, "row 1 holds inf"),
    ],
)
def test_what_cannot_be_true_is_refused(kind: str, value: float, said: str) -> None:
    with pytest.raises(TableError, match=said):
        check_column([1.0, value], what="column", kind=kind, size=2)


# --- in a table and its file ----------------------------------------------------------------------------------------


def holed() -> FloatArray:
    column = np.linspace(-1, 1, SPACE.size, dtype=np.float32)
    column[::7] = np.nan
    return column


def with_metric(name: str, column: FloatArray) -> Table:
    table = small_table()
    return replace(table, metrics={**table.metrics, (name, "cifar10"): column})


def test_holes_in_a_proxy_are_stored(tmp_path: Path) -> None:
    sha256 = write_table(with_metric("proxy/synflow", holed()), tmp_path / "t.h5")
    back = read_table(tmp_path / "t.h5")
    assert sha256 == back.sha256 == content_sha256(back)
    column = back.proxy("synflow", dataset="cifar10")
    np.testing.assert_array_equal(column, holed())
    assert not column.flags.writeable
    other = holed()
    other.view(np.uint32)[::7] |= 1  # another NaN of the many that float32 has
    assert content_sha256(with_metric("proxy/synflow", other)) == sha256


def test_holes_in_a_cost_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"params_m \(cifar10\): row 0 holds nan"):
        write_table(with_metric("params_m", holed()), tmp_path / "t.h5")


def test_a_metric_with_holes_is_an_error_until_nan_is_asked_for() -> None:
    table = with_metric("latency_ms/edgetpu", holed())
    with pytest.raises(NotMeasured, match=r"latency_ms/edgetpu \(cifar10\) exists for 13392 of 15625 architectures"):
        table.metric("latency_ms/edgetpu", dataset="cifar10")
    np.testing.assert_array_equal(table.metric("latency_ms/edgetpu", dataset="cifar10", missing="nan"), holed())
    assert table.metric("params_m", dataset="cifar10").shape == (SPACE.size,)


# --- asking for proxies ---------------------------------------------------------------------------------------------


def test_an_absent_proxy_says_what_exists() -> None:
    table = replace(
        with_metric("proxy/synflow", holed()),
        extra={"absent": {"proxy/cifar100": "nobody computed them"}},
    )
    assert (table.proxies("cifar10"), table.proxies("cifar100")) == (["synflow", "synflow-mean"], [])
    for name, dataset, said in (
        ("snip", "cifar10", "unknown proxy 'snip'. Known: synflow, synflow-mean (for data set cifar10)"),
        ("proxy/synflow", "cifar10", "unknown proxy 'proxy/synflow'; did you mean 'synflow'? Known: synflow, syn"),
        ("synflow", "cifar100", "did you mean 'cifar10'? Known: cifar10 (for proxies); nobody computed them"),
        ("params_m", "cifar10", "unknown proxy 'params_m'"),
    ):
        with pytest.raises(NotMeasured) as caught:
            table.proxy(name, dataset=dataset)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_table_with_nothing_but_the_shipped_proxy_says_how_to_get_others() -> None:
    with pytest.raises(NotMeasured, match=r"Known: synflow-mean \(for data set cifar10\); .*--metric COLUMN=proxy/"):
        small_table().proxy("synflow", dataset="cifar10")


def test_an_absent_metric_names_those_of_its_data_set() -> None:
    table = small_table()
    with pytest.raises(NotMeasured, match=r"did you mean 'params_m'\? Known: params_m \(for data set cifar10\)"):
        table.metric("param_m", dataset="cifar10")
    with pytest.raises(NotMeasured, match=r"unknown data set 'svhn'. Known: cifar10 \(for metrics\)"):
        table.metric("params_m", dataset="svhn")
