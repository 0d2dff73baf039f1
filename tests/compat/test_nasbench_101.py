"""`NASBench` answers as google-research/nasbench does: numbers worked out by hand from files in the official layout."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.compat import Absent, CompatWarning
from nasbench_sim.compat import nasbench_101 as api
from nasbench_sim.errors import ArchError, NotMeasured, SpecError, TableError
from nasbench_sim.spaces.nb101 import OPS, module_hash
from nasbench_sim.tables.modules import write_modules
from nasbench_sim.tables.nb101 import read_nb101
from tests.tables.tfrecords import CHAIN, FORK, LINE, metrics, numbers, record, runs_of, write_tfrecord

MODULES = (CHAIN, FORK, LINE)
KEYS = ("training_time", "train_accuracy", "validation_accuracy", "test_accuracy")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Any, Any]]:
    records, said = runs_of(MODULES, budgets=(4, 108))
    return write_tfrecord(tmp_path_factory.mktemp("nb101") / "small.tfrecord", records), said


@pytest.fixture
def nasbench(file: tuple[Path, dict[Any, Any]]) -> api.NASBench:
    return api.NASBench(file[0], seed=1)


def spec(module: Any) -> api.ModelSpec:
    return api.ModelSpec(matrix=module[0].tolist(), ops=list(module[1]))


def test_statistics_are_the_numbers_of_the_records(nasbench: api.NASBench, file: tuple[Path, dict[Any, Any]]) -> None:
    said = file[1]
    assert nasbench.valid_epochs == {4, 108}
    assert sorted(nasbench.hash_iterator()) == sorted(module_hash(*m) for m in MODULES)
    assert len(nasbench.fixed_statistics) == len(nasbench.computed_statistics) == 3
    for number, module in enumerate(MODULES):
        fixed, computed = nasbench.get_metrics_from_spec(spec(module))
        name = module_hash(*module)
        np.testing.assert_array_equal(fixed["module_adjacency"], module[0])
        assert fixed["module_adjacency"].dtype == np.int8
        assert fixed["module_operations"] == list(module[1])
        assert fixed["trainable_parameters"] == 1_000_000 * (number + 1)
        assert computed == nasbench.computed_statistics[name] == nasbench.get_metrics_from_hash(name)[1]
        assert {epochs: len(runs) for epochs, runs in computed.items()} == {4: 3, 108: 3}
        for epochs, runs in computed.items():
            for run, found in enumerate(runs):
                expected = said[name, epochs, run]
                for row, when in enumerate(("halfway", "final")):
                    assert [found[f"{when}_{key}"] for key in KEYS] == expected[row].tolist()  # to the last bit


@pytest.mark.parametrize("halfway", [False, True])
@pytest.mark.parametrize("epochs", [4, 108])
def test_a_query_is_one_run_and_is_paid_for(nasbench: api.NASBench, file: Any, epochs: int, halfway: bool) -> None:
    said, spent = file[1], 0.0
    drawn = Counter[int]()
    for _ in range(30):
        data = nasbench.query(spec(FORK), epochs=epochs, stop_halfway=halfway)
        runs = [said[module_hash(*FORK), epochs, run][0 if halfway else 1].tolist() for run in range(3)]
        drawn[runs.index([data[key] for key in KEYS])] += 1
        spent += data["training_time"]
        assert list(data) == ["module_adjacency", "module_operations", "trainable_parameters", *KEYS]
    assert set(drawn) == {0, 1, 2}
    assert nasbench.get_budget_counters() == (spent, 30 * (epochs // 2 if halfway else epochs))
    nasbench.reset_budget_counters()
    assert nasbench.get_budget_counters() == (0.0, 0)


def test_the_same_seed_answers_alike_and_nothing_global_is_drawn(file: Any) -> None:
    def of(**how: Any) -> list[float]:
        nasbench = api.NASBench(file[0], **how)
        return [nasbench.query(spec(FORK))["test_accuracy"] for _ in range(30)]

    random.seed(3)
    before = random.getstate()
    assert of(seed=5) == of(seed=5) == of(rng=5) == of(rng=np.random.default_rng(5)) != of(seed=6)
    assert random.getstate() == before
    with pytest.warns(CompatWarning, match="pass rng=SEED"):
        of()


def test_strict_draws_are_those_of_the_original(file: Any) -> None:
    """It seeds the global generator and draws randint(0, 2) at each query."""
    nasbench = api.NASBench(file[0], seed=7, rng=random, strict_compat=True)
    drawn = [nasbench.query(spec(FORK))["test_accuracy"] for _ in range(20)]
    random.seed(7)
    every = [file[1][module_hash(*FORK), 108, run][1][3] for run in range(3)]
    assert drawn == [every[random.randint(0, 2)] for _ in range(20)]
    for how in ({"strict_compat": True}, {"seed": 1, "rng": np.random.default_rng(0)}, {"seed": 1, "rng": random}):
        with pytest.raises(SpecError):
            api.NASBench(file[0], **how)


def test_specs_are_pruned_and_kept_as_given() -> None:
    matrix = np.array([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    ops = ["input", OPS[0], OPS[2], "output"]
    pruned = api.ModelSpec(matrix, ops)
    assert pruned.valid_spec and pruned.matrix is not None
    assert pruned.matrix.tolist() == CHAIN[0].tolist() and pruned.ops == ["input", OPS[0], "output"]
    assert pruned.original_matrix.tolist() == matrix.tolist() and pruned.original_ops == ops
    assert pruned.hash_spec(OPS) == module_hash(*CHAIN) == spec(CHAIN).hash_spec()
    matrix[0, 1] = 0  # a change to what was given is not seen
    assert pruned.original_matrix[0, 1] == 1
    cut = api.ModelSpec([[0, 0], [0, 0]], ["input", "output"])
    assert (cut.valid_spec, cut.matrix, cut.ops) == (False, None, None)
    with pytest.raises(api.OutOfDomainError):
        cut.hash_spec(OPS)
    # numbered in another order, conv3x3 has the label that conv1x1 has in the official one
    other = api.ModelSpec(CHAIN[0], ["input", OPS[1], "output"])
    assert spec(CHAIN).hash_spec([OPS[1], OPS[0], OPS[2]]) == other.hash_spec(OPS)
    with pytest.raises(SpecError, match="canonical_ops"):
        spec(CHAIN).hash_spec(["conv5x5"])


@pytest.mark.parametrize(
    ("matrix", "ops"),
    [
        ([[0, 1]], ["input"]),
        ([[0, 1], [1, 0]], ["input", "output"]),
        ([[0, 1], [0, 0]], ["input"]),
        ([[0, 2], [0, 0]], ["input", "output"]),
        ([[0, 1], [0]], ["input", "output"]),
    ],
)
def test_what_is_no_graph_is_a_value_error(matrix: Any, ops: list[str]) -> None:
    with pytest.raises(ValueError, match="module") as caught:
        api.ModelSpec(matrix, ops)
    assert isinstance(caught.value, ArchError)


def test_what_is_outside_the_domain(nasbench: api.NASBench) -> None:
    full = np.triu(np.ones((7, 7), dtype=int), 1)
    long = np.eye(8, k=1, dtype=int)
    bad = {
        "not reached": api.ModelSpec([[0, 0], [0, 0]], ["input", "output"]),
        "9 edges": api.ModelSpec(full, ["input", *[OPS[0]] * 5, "output"]),
        "7 vertices": api.ModelSpec(long, ["input", *[OPS[0]] * 6, "output"]),
        "starts with": api.ModelSpec([[0, 1], [0, 0]], ["in", "output"]),
        "unknown operation": api.ModelSpec(CHAIN[0], ["input", "conv5x5", "output"]),
    }
    for said, one in bad.items():
        assert not nasbench.is_valid(one)
        for ask in (nasbench.query, nasbench.get_metrics_from_spec):
            with pytest.raises(api.OutOfDomainError, match=said):
                ask(one)
    for epochs in (5, 12, "108"):
        with pytest.raises(api.OutOfDomainError, match="must be one of 4, 108"):
            nasbench.query(spec(CHAIN), epochs=epochs)  # type: ignore[arg-type]
    assert nasbench.get_budget_counters() == (0.0, 0)  # what is refused costs nothing
    assert all(nasbench.is_valid(spec(module)) for module in MODULES)


def test_what_was_not_measured_says_so(nasbench: api.NASBench) -> None:
    absent = api.ModelSpec(CHAIN[0], ["input", OPS[2], "output"])
    assert nasbench.is_valid(absent)
    with pytest.raises(NotMeasured, match="does not have module"):
        nasbench.query(absent)
    for name in ("0" * 32, "", "x", 5):
        with pytest.raises(Absent, match="no module with the hash"):
            nasbench.get_metrics_from_hash(name)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="trains a network"):
        nasbench.evaluate(absent, "folder")


def test_fewer_than_three_runs(tmp_path: Path) -> None:
    """The original draws one of three and fails where it is missing; this draws one of those there are."""
    values = numbers(np.random.default_rng(0), 2)
    path = write_tfrecord(
        tmp_path / "two.tfrecord", [record(module_hash(*LINE), 108, LINE, metrics(v, 7)) for v in values]
    )
    nasbench = api.NASBench(path, seed=0)
    drawn = {nasbench.query(spec(LINE))["test_accuracy"] for _ in range(30)}
    assert drawn == {v[1][3] for v in values}
    strict = api.NASBench(path, seed=0, rng=random.Random(0), strict_compat=True)
    with pytest.raises(NotMeasured, match="run2"):
        for _ in range(30):
            strict.query(spec(LINE))


def test_other_files(file: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept.safetensors"
    write_modules(read_nb101(file[0]), kept)
    one, other = (api.NASBench(source, seed=2) for source in (kept, file[0]))
    for _ in range(5):
        a, b = one.query(spec(FORK)), other.query(spec(FORK))
        assert [a[k] for k in KEYS] == [b[k] for k in KEYS]
    for what in ("nb101", str(tmp_path / "no.tfrecord"), str(tmp_path)):
        with pytest.raises(TableError, match="tables fetch nb101"):
            api.NASBench(what)
