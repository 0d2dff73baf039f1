"""Simulated seconds of an evaluation: proportional, beside the official simulator, refused where nothing was timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.tables import evaluation_seconds, fidelities, open_table
from nasbench_sim.tables.table import Key, Table
from tests.tables.helpers import SPACE, VALID, small_table

SECONDS = np.linspace(900, 5_000, SPACE.size, dtype=np.float32)


def timed_table() -> Table:
    return replace(small_table(), metrics={("train_time_s", "cifar10"): SECONDS})


TIMED = timed_table()


def seconds(epochs: Any, table: Table = TIMED, dataset: str = "cifar10") -> Any:
    return evaluation_seconds(table, dataset, epochs)


@given(st.integers(1, 199), st.data())
def test_seconds_add_up_and_grow(a: int, data: st.DataObject) -> None:
    b = data.draw(st.integers(1, 200 - a))
    np.testing.assert_allclose(seconds(a) + seconds(b), seconds(a + b), rtol=3e-7)
    assert np.all(seconds(a + b) > seconds(a))


def test_the_whole_budget_is_the_training_time() -> None:
    out = seconds(200)
    np.testing.assert_array_equal(out, SECONDS)
    assert (out.dtype, out.shape, out.flags.writeable) == (np.float32, (SPACE.size,), False)


@pytest.mark.parametrize("epochs", [0, -1, 201, 12.0, "12", True, None, np.float64(12)])
def test_epochs_are_whole_and_within_the_budget(epochs: Any) -> None:
    with pytest.raises(SpecError, match=r"epochs .*: table small knows .* whole number in 1\.\.200"):
        seconds(epochs)


def test_numpy_integers_are_whole_numbers() -> None:
    np.testing.assert_array_equal(seconds(np.int64(12)), seconds(12))


def test_no_training_times_no_seconds() -> None:
    with pytest.raises(NotMeasured, match=r"small has no training times \(train_time_s\) for data set 'cifar10'.*none"):
        seconds(12, small_table())
    with pytest.raises(NotMeasured, match=r"for data set 'cifar100', .*it has them for cifar10"):
        seconds(12, TIMED, "cifar100")
    with pytest.raises(NotMeasured, match="nb201-analog does not state its epochs"):
        seconds(12, open_table("nb201-analog"))


def accuracy(*keys: Key, hole: Key | None = None) -> Table:
    columns = {k: np.full(SPACE.size, 50, dtype=np.float32) for k in (VALID, *keys)}
    if hole is not None:
        columns[hole][3] = np.nan
    return replace(small_table(), accuracy=columns)


def test_fidelities_are_of_the_split_and_seed_that_a_search_sees() -> None:
    short, other = VALID._replace(epochs=12), VALID._replace(epochs=50)
    assert fidelities(accuracy(short, other), "cifar10") == [12, 50, 200]
    assert fidelities(accuracy(short, other, hole=other), "cifar10") == [12, 200]
    assert fidelities(accuracy(short._replace(split="test"), short._replace(seed=777)), "cifar10") == [200]
    assert fidelities(accuracy(short._replace(epochs="unstated")), "cifar10") == [200]
    assert fidelities(accuracy(short._replace(dataset="cifar100")), "cifar10") == [200]


def test_without_a_fidelity_there_is_an_error() -> None:
    with pytest.raises(NotMeasured, match="nb201-analog: no stated number of epochs"):
        fidelities(open_table("nb201-analog"), "cifar10")
    with pytest.raises(NotMeasured, match="no stated number of epochs at which cifar10/valid/seed mean is measured"):
        fidelities(accuracy(hole=VALID), "cifar10")
    with pytest.raises(NotMeasured, match="unknown data set 'cifar100'"):
        fidelities(TIMED, "cifar100")


@pytest.mark.real
@pytest.mark.parametrize("dataset", ["cifar10", "cifar10-valid", "cifar100", "ImageNet16-120"])
def test_fidelities_of_nb201(nb201_table: Table, dataset: str) -> None:
    assert fidelities(nb201_table, dataset) == [12, 200]


@pytest.mark.real
@pytest.mark.parametrize("index", [0, 11, 284])
@pytest.mark.parametrize(
    ("dataset", "least", "most"),
    [("cifar10", 0.0277, 0.0409), ("cifar100", 0.00277, 0.00409), ("ImageNet16-120", 0.00054, 0.00081)],
)
def test_beside_the_official_simulator(
    nb201_table: Table, shared_data: Path, index: int, dataset: str, least: float, most: float
) -> None:
    """The official cost of 12 epochs is ours and one validation pass, whose share is as documented."""
    nats_bench = pytest.importorskip("nats_bench")
    folder = shared_data / "nats_tss_sample" / "NATS-tss-v1_0-3ffb9-simple"
    api = nats_bench.create(str(folder), "tss", fast_mode=True, verbose=False)
    cost = api.simulate_train_eval(index, dataset, hp="12")[2]
    ours = float(evaluation_seconds(nb201_table, dataset, 12)[index])
    assert least < cost / ours - 1 < most
    run = "cifar10-valid" if dataset == "cifar10" else dataset
    each = []
    for epochs in (12, 200):
        trained = api.get_more_info(index, run, hp=str(epochs), is_random=False)["train-all-time"]
        each.append(trained / epochs)
        assert float(evaluation_seconds(nb201_table, dataset, epochs)[index]) == pytest.approx(trained, rel=1e-6)
    assert each[0] == pytest.approx(each[1], rel=1e-12)
