"""The key has no defaults; what was not measured is an error that says what exists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_sim.errors import ArchError, NotMeasured, TableError
from nasbench_sim.tables.table import Key, check_column
from tests.tables.helpers import MISSING, SEED, SPACE, TEST, VALID, small_table

TABLE = small_table()
FULL: dict[str, Any] = VALID._asdict()


@pytest.mark.parametrize("left_out", ["dataset", "split", "epochs", "seed"])
def test_no_part_of_the_key_has_a_default(left_out: str) -> None:
    asked = {k: v for k, v in FULL.items() if k != left_out}
    with pytest.raises(TypeError, match=left_out):
        TABLE.values(**asked)


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("dataset", "cifar100", "unknown data set 'cifar100'; did you mean 'cifar10'? Known: cifar10"),
        ("split", "train", "unknown split 'train'. Known: test, valid (for data set cifar10)"),
        ("epochs", 90, "unknown epochs '90'. Known: 200 (for data set cifar10, split valid)"),
        ("epochs", 12, "Known: 200 (for data set cifar10, split valid); 12 epochs were never asked for"),
        ("epochs", "200", "epochs must be the number 200, got '200' (for data set cifar10, split valid)"),
        ("seed", 777, "unknown seed '777'. Known: 999, mean (for data set cifar10, split valid, epochs 200)"),
        ("seed", "999", "seed must be the number 999, got '999'"),
    ],
)
def test_an_absent_key_says_what_exists(part: str, value: object, said: str) -> None:
    with pytest.raises(NotMeasured) as caught:
        TABLE.values(**{**FULL, part: value})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_borrowed_from_another_split() -> None:
    test_seed: dict[str, Any] = {**SEED._asdict(), "split": "test"}  # valid has seed 999, test has not
    with pytest.raises(NotMeasured, match="unknown seed '999'"):
        TABLE.query(0, **test_seed)


def test_a_hole_is_an_error_until_nan_is_asked_for() -> None:
    asked: dict[str, Any] = SEED._asdict()
    with pytest.raises(NotMeasured, match=r"15624 of 15625 architectures; pass missing='nan'.*, or seed='mean'"):
        TABLE.values(**asked)
    column = TABLE.values(**asked, missing="nan")
    assert np.flatnonzero(np.isnan(column)).tolist() == [MISSING]
    assert np.flatnonzero(~TABLE.measured(**asked)).tolist() == [MISSING]
    handle = TABLE.handle(**asked)
    for arch in (MISSING, SPACE.strings[MISSING], SPACE.at(MISSING)):
        with pytest.raises(NotMeasured, match="was not measured for"):
            handle(arch)
    with pytest.raises(NotMeasured):
        handle.gather(np.array([0, MISSING]))
    assert handle.gather(np.array([0, 1])).tolist() == column[:2].tolist()


@given(st.lists(st.integers(0, SPACE.size - 1), min_size=1, max_size=20))
def test_handle_query_and_gather_agree(indices: list[int]) -> None:
    handle = TABLE.handle(**FULL)
    gathered = handle.gather(np.array(indices))
    assert gathered.dtype == np.float32
    for i, value in zip(indices, gathered, strict=True):
        answers = {
            handle(i),
            handle(np.int64(i)),
            handle(SPACE.strings[i]),
            handle(SPACE.at(i)),
            TABLE.query(i, **FULL),
        }
        assert len(answers) == 1
        answer = answers.pop()
        assert np.float32(answer) == value
        assert len(str(answer)) <= len(repr(float(value)))  # the shortest decimal of that float32


@pytest.mark.parametrize("wrong", [-1, 15_625, "none", [0, 1], True, 2.5])
def test_a_wrong_architecture_is_an_error(wrong: Any) -> None:
    with pytest.raises(ArchError):
        TABLE.query(wrong, **FULL)


@pytest.mark.parametrize("wrong", [np.array([-1]), np.array([15_625]), np.array([0.5])])
def test_gather_does_not_wrap_around(wrong: Any) -> None:
    with pytest.raises(ArchError):
        TABLE.handle(**FULL).gather(wrong)


def test_gather_keeps_the_shape() -> None:
    indices = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(TABLE.handle(**FULL).gather(indices), TABLE.accuracy[VALID][indices])
    assert TABLE.handle(**FULL).gather(np.empty((0, 3), dtype=np.int64)).shape == (0, 3)


def test_handles_are_kept() -> None:
    assert TABLE.handle(**FULL) is TABLE.handle(**FULL)


def test_metrics_and_keys_by_data_set() -> None:
    assert TABLE.metric("params_m", dataset="cifar10").shape == (SPACE.size,)
    with pytest.raises(NotMeasured, match="did you mean"):
        TABLE.metric("param_m", dataset="cifar10")
    assert TABLE.datasets() == ["cifar10"]
    assert TABLE.search_key_for("cifar10") == VALID
    assert TABLE.report_keys_for("cifar10") == {"valid": VALID, "test": TEST}
    with pytest.raises(NotMeasured):
        TABLE.search_key_for("cifar100")


@pytest.mark.parametrize(
    ("row", "value", "kind", "holes"),
    [
        (3, 100.01, "accuracy", True),
        (4, -0.01, "accuracy", True),
        (5, np.inf, "accuracy", True),
        (6, np.nan, "accuracy", False),
        (7, -1, "train_time_s", True),
    ],
)
def test_a_number_out_of_physical_range_names_its_row(row: int, value: float, kind: str, holes: bool) -> None:
    column = np.full(10, 50.0)
    column[row] = value
    with pytest.raises(TableError, match=f"row {row} holds"):
        check_column(column, what="column", kind=kind, size=10, holes=holes)


def test_columns_are_checked_for_shape_and_cannot_be_changed() -> None:
    with pytest.raises(TableError, match="expected 10 rows"):
        check_column(np.zeros(9), what="column", kind="accuracy", size=10)
    with pytest.raises(ValueError, match="read-only"):
        check_column(np.zeros(10), what="column", kind="accuracy", size=10)[0] = 1


def test_keys_print_as_a_sentence() -> None:
    assert str(Key("cifar10", "test", 200, 777)) == "cifar10/test/200 epochs/seed 777"
