"""Completed tables: what is predicted, how well, and that it is never taken for a measurement."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import NotMeasured, SpecError, TableError
from nasbench_sim.spaces import NB201, NB1Shot1, get_space
from nasbench_sim.tables import catalogue, partial, regressor
from nasbench_sim.tables.columns import FloatArray
from nasbench_sim.tables.evaluation import evaluation_seconds, fidelities
from nasbench_sim.tables.holes import coverage, untrained
from nasbench_sim.tables.manifest import stamped
from nasbench_sim.tables.module_codes import modules_of
from nasbench_sim.tables.nb1shot1 import class_modules
from nasbench_sim.tables.regressor import features, module_features, predict
from nasbench_sim.tables.store import read_table, write_table
from nasbench_sim.tables.table import Key, Table
from tests.cli.helpers import call, document, good
from tests.tables.helpers import same, small_table

SPACE = get_space("nb1shot1-1")
assert isinstance(SPACE, NB1Shot1)
VALID, TEST = (Key("cifar10", split, 108, "mean") for split in ("valid", "test"))
SHORT = VALID._replace(epochs=12)
UNITS = len(SPACE.unique_hashes)
FAST = {"loss": "absolute_error", "max_iter": 40, "learning_rate": 0.2}
MEASURED = np.random.default_rng(5).random(UNITS) < 0.3


def truth(seed: int, noise: float = 0.1) -> FloatArray:
    """A made-up accuracy `[U]` of every module: convolutions help, depth helps, training is noisy."""
    x = module_features(*modules_of(class_modules(SPACE)))
    rng = np.random.default_rng(seed)
    n3, n1, deep = x[:, 81], x[:, 82], x[:, 84:] @ np.arange(6)
    return (88 + 1.2 * n3 + 0.6 * n1 + 0.2 * deep + noise * rng.normal(size=len(x))).astype(np.float32)


def partial_table(valid: FloatArray | None = None, test: FloatArray | None = None) -> Table:
    """Space 1, of which 30 % of the modules were measured; a short budget, one run, times."""
    units = {
        VALID: truth(1) if valid is None else valid,
        TEST: truth(2) - 0.5 if test is None else test,
        SHORT: truth(3) - 8,
        VALID._replace(seed="run0"): truth(4),
        VALID._replace(split="train"): truth(5) + 3,
    }
    holes = {key: np.where(MEASURED, column, np.nan).astype(np.float32) for key, column in units.items()}
    seconds = np.where(MEASURED, 1000 + 10 * truth(6), np.nan).astype(np.float32)
    runs = np.where(MEASURED, 3, np.nan).astype(np.float32)
    return stamped(
        Table(
            "partly",
            SPACE,
            {key: column[SPACE.classes] for key, column in holes.items()},
            {("train_time_s", "cifar10"): seconds[SPACE.classes], ("mean_runs", "cifar10"): runs[SPACE.classes]},
            VALID,
            {"valid": VALID, "test": TEST},
            extra={"notes": ["made up"]},
        )
    )


@pytest.fixture(autouse=True)
def fewer_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that fits in a tenth of the time, and well enough for made-up numbers."""
    monkeypatch.setattr(regressor, "SETTINGS", FAST)
    monkeypatch.setattr(partial, "SETTINGS", FAST)


@pytest.fixture(scope="module")
def table() -> Table:
    return partial_table()


@pytest.fixture(scope="module")
def made(table: Table) -> Table:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regressor, "SETTINGS", FAST)
        patch.setattr(partial, "SETTINGS", FAST)
        return table.complete("regressor")


def refused(ask: Callable[[], Any], kind: type[Exception] = TableError) -> str:
    with pytest.raises(kind) as caught:
        ask()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is completed ----------------------------------------------------------------------------------------------


def test_measured_numbers_are_never_changed(table: Table, made: Table) -> None:
    """Every measured column is there as it was, holes included; a completed one repeats every measured number."""
    for key, column in table.accuracy.items():
        assert np.array_equal(made.accuracy[key], column, equal_nan=True)
    there = MEASURED[SPACE.classes]
    for key in (VALID, TEST, SHORT):
        full = made.accuracy[key._replace(seed="completed")]
        assert not np.isnan(full).any()
        assert np.array_equal(full[there], table.accuracy[key][there])
    assert set(made.accuracy) - set(table.accuracy) == {k._replace(seed="completed") for k in (VALID, TEST, SHORT)}


def test_a_completed_table_says_which_is_which(table: Table, made: Table) -> None:
    there = MEASURED[SPACE.classes]
    key = VALID._replace(seed="completed")
    assert np.array_equal(made.measured(**key._asdict()), there)
    assert np.array_equal(made.measured(**VALID._asdict()), there)
    assert coverage(made) == coverage(table) == (int(there.sum()), SPACE.size)
    assert np.array_equal(untrained(made.accuracy), ~there)
    assert (made.name, made.sha256 != table.sha256) == ("partly+regressor", True)
    assert made.search_key == key
    assert made.report_keys == {"valid": key, "test": TEST._replace(seed="completed")}
    assert str(made.search_key) == "cifar10/valid/108 epochs/seed completed"
    assert f"{(~there).sum():,} of the 14,580 architectures of partly+regressor" in made.remark
    assert "were not measured but predicted" in made.remark and "\n" not in made.remark
    facts = made.extra["completed"]
    assert (facts["measured"], facts["predicted"], facts["of"]) == (there.sum(), (~there).sum(), table.sha256)
    assert made.extra["notes"] == ["made up"]
    with pytest.raises(NotMeasured):  # the measured mean of a cell that was not measured is still not there
        made.query(int(np.argmin(there)), **VALID._asdict())


def test_predictions_are_good_where_they_can_be(made: Table) -> None:
    """Against the truth that the holes hide, which the quality of held-out measurements foretells."""
    for key, seed, shift in ((VALID, 1, 0), (TEST, 2, -0.5)):
        wanted, got = truth(seed) + shift, np.full(UNITS, np.nan)
        got[SPACE.classes] = made.accuracy[key._replace(seed="completed")]
        wanted, got = wanted[~MEASURED], got[~MEASURED]
        quality = made.extra["completed"]["held_out"][str(key)]
        assert quality["n"] == MEASURED.sum()
        assert quality["tau"] > 0.8 and quality["r2"] > 0.9 and quality["r2_trained"] == quality["r2"]
        assert np.abs(got - wanted).mean() < 1.5 * quality["mae"] < 0.6
        assert np.corrcoef(got, wanted)[0, 1] > 0.95
    assert made.extra["completed"]["valid_test_tau"]["predicted"] > 0.8


def test_architectures_that_are_one_module_get_one_prediction(made: Table) -> None:
    full = made.accuracy[VALID._replace(seed="completed")]
    of_unit = np.full(UNITS, np.nan, dtype=np.float32)
    of_unit[SPACE.classes] = full
    assert np.array_equal(of_unit[SPACE.classes], full)


def test_what_needs_every_cell_has_it(made: Table) -> None:
    assert not np.isnan(made.values(**made.search_key._asdict())).any()
    assert fidelities(made, "cifar10") == [12, 108]
    seconds = evaluation_seconds(made, "cifar10", 12)
    assert not np.isnan(seconds).any()
    assert made.metrics["train_time_s", "cifar10"][MEASURED[SPACE.classes]].min() > 1000
    assert np.isnan(made.metrics["mean_runs", "cifar10"]).any()  # nobody ran them


def test_the_same_again_is_the_same(table: Table, made: Table, tmp_path: Path) -> None:
    assert table.complete("regressor").sha256 == made.sha256
    write_table(made, tmp_path / "x.h5")
    assert same(read_table(tmp_path / "x.h5"), made)


# --- validation and test do not mix ---------------------------------------------------------------------------------


def test_each_split_is_predicted_from_itself_alone(table: Table, made: Table) -> None:
    """Other test numbers leave the completed validation bit for bit as it was, and the other way round."""
    other = np.random.default_rng(8).permutation(truth(7))
    for changed, kept in ((partial_table(test=other), VALID), (partial_table(valid=other), TEST)):
        again = changed.complete("regressor")
        key = kept._replace(seed="completed")
        assert np.array_equal(again.accuracy[key], made.accuracy[key])
        moved = (TEST if kept == VALID else VALID)._replace(seed="completed")
        assert not np.array_equal(again.accuracy[moved], made.accuracy[moved])


def test_noise_is_not_predicted() -> None:
    """Held-out quality is held out: of numbers that have nothing to do with the module it is none."""
    noise = 90 + np.random.default_rng(2).normal(size=UNITS)
    seen = features(SPACE)
    _, quality = predict(seen.x, np.where(MEASURED, noise, np.nan), seen.group, top=100.0, failed=80.0)
    assert abs(quality.tau) < 0.15 and quality.r2 < 0.05


def test_copies_of_a_cell_do_not_give_its_answer_away() -> None:
    """Noise again, but every cell four times: only whole groups are held out, so there is still nothing to see."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(150), 4)
    x, y = rng.normal(size=(150, 5)).astype(np.float32)[group], 90 + rng.normal(size=150)[group]
    assert abs(predict(x, y, group, top=100.0, failed=0.0)[1].tau) < 0.2
    assert predict(x, y, np.arange(600), top=100.0, failed=0.0)[1].tau > 0.6  # what it would say without groups


def test_failed_trainings_are_counted_apart() -> None:
    """One cell in ten failed at random: that cannot be predicted, and does not hide how well the others are."""
    y = truth(1).astype(np.float64)
    y[np.random.default_rng(1).random(UNITS) < 0.1] = 10.0
    seen = features(SPACE)
    predicted, quality = predict(seen.x, y, seen.group, top=100.0, failed=80.0)
    assert quality.r2 < 0.2 < 0.8 < quality.r2_trained
    assert predicted.min() > 80


def test_predictions_stay_in_range() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    y = np.where(x[:, 0] > 0, 100.0, 0.0)
    y[200:] = np.nan
    predicted, _ = predict(x, y, np.arange(300), top=100.0, failed=0.0)
    assert predicted.min() >= 0 and predicted.max() <= 100


# --- features -------------------------------------------------------------------------------------------------------


def test_features_of_a_module_counted_by_hand() -> None:
    """input -> 1, 2; 1 (conv3x3) -> 2 (maxpool) -> output; 1 -> output: paths 3, p, 3p."""
    matrix = np.zeros((1, 7, 7), dtype=np.int8)
    for a, b in ((0, 1), (0, 2), (1, 2), (1, 6), (2, 6)):
        matrix[0, a, b] = 1
    x = module_features(matrix, np.array([[-1, 0, 2, 0, 0, 0, -2]], dtype=np.int8))[0]
    assert x.shape == (90,)
    assert x[:21].sum() == 5
    assert x[21:36].reshape(5, 3).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    paths = x[36:76]
    assert np.flatnonzero(paths).tolist() == [1 + 0, 1 + 2, 4 + 3 * 0 + 2] and paths.sum() == 3
    assert x[76:80].tolist() == [4, 5, 2, 2]
    assert x[81:84].tolist() == [1, 0, 1]
    assert x[84:].tolist() == [0, 2, 1, 0, 0, 0]


def test_features_of_other_spaces() -> None:
    seen = features(NB201())
    assert seen.x.shape == (15_625, 30) and (seen.x.sum(axis=1) == 6).all()
    assert np.array_equal(seen.unit, np.arange(15_625))
    assert len(np.unique(seen.group)) == 6_466  # cells that are one function stay in one fold
    assert features(SPACE).x.shape == (UNITS, 90)


def test_a_partial_table_of_another_space() -> None:
    table = small_table()
    ops = np.array([0, 60, 75, 90, 50])
    smooth = ops[NB201().all].mean(axis=1).astype(np.float32)
    known = np.random.default_rng(0).random(15_625) < 0.1
    column = np.where(known, smooth, np.nan).astype(np.float32)
    key = Key("cifar10", "valid", 200, "mean")
    table = Table("mine", table.space, {key: column}, {}, key, {"valid": key})
    made = table.complete("regressor")
    quality = made.extra["completed"]["held_out"][str(key)]
    assert quality["tau"] > 0.8 and made.extra["completed"]["valid_test_tau"] == {}
    assert np.abs(made.accuracy[key._replace(seed="completed")] - smooth).mean() < 2


# --- refusals -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_completed(table: Table, made: Table) -> None:
    assert "unknown way 'mean'. Known: regressor" in refused(lambda: table.complete("mean"), SpecError)
    assert "small has no holes" in refused(lambda: small_table().complete("regressor"))
    assert "partly+regressor has no holes" in refused(lambda: made.complete("regressor"))
    few = np.where(np.arange(SPACE.size) < 40, 90, np.nan).astype(np.float32)
    one = Table("few", SPACE, {VALID: few}, {}, VALID, {})
    assert "was measured for 1" in refused(lambda: one.complete("regressor"))
    single = VALID._replace(seed=777)
    one = Table("few", SPACE, {single: few}, {}, single, {})
    assert "only a mean is completed" in refused(lambda: one.complete("regressor"))


def test_without_scikit_learn(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    said = refused(lambda: table.complete("regressor"), SpecError)
    assert "pip install 'nasbench-sim[blackbox]'" in said


@pytest.mark.parametrize("how", ["other", "hole", "alone"])
def test_a_completed_column_that_is_not_one(made: Table, tmp_path: Path, how: str) -> None:
    """A file whose completed column changes a measurement, has a hole, or stands alone, is not written or read."""
    key = VALID._replace(seed="completed")
    column = made.accuracy[key].copy()
    there = int(np.argmax(MEASURED[SPACE.classes]))
    column[there] = np.nan if how == "hole" else column[there] + 1
    accuracy = {**made.accuracy, key: column}
    if how == "alone":
        accuracy = {k: v for k, v in made.accuracy.items() if k != VALID}
    broken = replace(made, accuracy=accuracy)
    said = refused(lambda: write_table(broken, tmp_path / "x.h5"))
    assert ("has no measured column" if how == "alone" else "has holes, or differs from what was measured") in said


def test_nobody_imports_a_completed_column() -> None:
    mapped = "a=cifar10/valid/1/completed"
    result = call("tables", "import", "x", "--csv", "x.csv", "--unit", "percent", "--map", mapped)
    assert result.code == 2 and "seed 'completed' is neither a number nor one of" in result.err


# --- command line ---------------------------------------------------------------------------------------------------


def test_the_command(table: Table, made: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASBENCH_SIM_HOME", str(tmp_path))
    catalogue.install(table)
    said = document("tables", "complete", "partly")
    assert (said["name"], said["sha256"]) == ("partly+regressor", made.sha256)
    assert Path(said["path"]) == tmp_path / "tables" / "partly+regressor.h5"
    assert "partly+regressor" in [t["name"] for t in document("tables", "list")["tables"]]
    text = good("tables", "complete", "partly")  # the same again
    assert f"{MEASURED[SPACE.classes].sum():,} measured" in text and made.remark in text
    info = document("tables", "info", "partly+regressor")
    rows = {row["seed"]: row for row in info["accuracy"] if (row["split"], row["epochs"]) == ("valid", 108)}
    assert rows["completed"]["measured"] == rows["mean"]["measured"] == MEASURED[SPACE.classes].sum()
    for command in (("complete", "partly+regressor"), ("complete", "nb201-analog")):
        result = call("tables", *command)
        assert result.code == 2 and "has no holes" in result.err
    assert call("tables", "complete", "partly", "--how", "magic").code == 2
    run = ("search", "darts", "--dataset", "cifar10", "--landscape", "tabular", "--seeds", "2", "--epochs", "1")
    assert "`nasbench-sim tables complete partly` makes" in call(*run, "--table", "partly").err
    assert "were not measured but predicted" in good(*run, "--table", "partly+regressor", "--steps-per-epoch", "2")


# --- the sample of the real benchmark -------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.slow
def test_space_1_of_the_real_sample(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """802 of 2,685 modules: held-out tau 0.86, 0.40 among the best tenth; failures are what is not predicted."""
    from nasbench_sim.tables.nb1shot1 import build
    from nasbench_sim.tables.nb101 import read_nb101

    monkeypatch.undo()  # the whole model
    made = build(read_nb101(shared_data / "nb101_sample_108ep.csv.gz"), "nb1shot1-1").complete("regressor")
    for split in ("valid", "test"):
        quality = made.extra["completed"]["held_out"][f"cifar10/{split}/108 epochs/seed mean"]
        assert quality["n"] == 802
        assert 0.83 < quality["tau"] < 0.89 and 0.3 < quality["tau_best"] < 0.5
        assert quality["r2"] < 0.5 < 0.75 < quality["r2_trained"]
    assert made.extra["completed"]["held_out"]["train_time_s (cifar10)"]["r2"] > 0.98
    there = made.measured(**made.search_key._asdict())
    found = made.accuracy[made.search_key]
    assert found[there].max() - found[~there].max() == pytest.approx(0.14, abs=0.05)  # as the head of `partial` says
