"""Tables from CSV and Parquet: every mistake is one line with the row, and nothing is guessed or filled in."""

from __future__ import annotations

import builtins
import csv
import gzip
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from nasbench_sim.errors import SpecError, TableError
from nasbench_sim.tables import tabular_file
from nasbench_sim.tables.table import Key
from nasbench_sim.tables.tabular_file import Mapped, parse_map, parse_metric, read_tabular
from tests.tables.helpers import SPACE, TEST, VALID

RNG = np.random.default_rng(3)
NUMBERS = {"val": RNG.uniform(10, 95, SPACE.size), "test": RNG.uniform(10, 95, SPACE.size)}
Rows = list[list[str]]
HEADER = ["note", "arch", "val", "test", "params"]
MAPPED = Mapped({"val": VALID, "test": TEST}, "percent", {"params": ("params_m", "cifar10")}, search="val")
ORDER = RNG.permutation(SPACE.size)  # rows of a user's file come in any order


def rows() -> Rows:
    return [["x,\ny", SPACE.strings[i], str(NUMBERS["val"][i]), str(NUMBERS["test"][i]), "0.5"] for i in ORDER]


def write(path: Path, body: Rows, header: list[str] = HEADER) -> Path:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *body])
    return path


@pytest.fixture(scope="module")
def good() -> Rows:
    return rows()


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_csv_comes_back_by_architecture(tmp_path: Path, good: Rows, name: str) -> None:
    table = read_tabular(write(tmp_path / name, good), MAPPED, name="mine", space="nb201")
    np.testing.assert_array_equal(table.accuracy[VALID], NUMBERS["val"].astype(np.float32))
    np.testing.assert_array_equal(table.accuracy[TEST], NUMBERS["test"].astype(np.float32))
    assert set(table.metric("params_m", dataset="cifar10").tolist()) == {0.5}
    assert table.search_key == VALID
    assert dict(table.report_keys) == {"valid": VALID, "test": TEST}
    assert table.remark == ""
    assert len(table.sha256) == 64


def test_parquet_equals_csv(tmp_path: Path, good: Rows) -> None:
    columns = {
        "arch": [SPACE.strings[i] for i in ORDER],
        "val": NUMBERS["val"][ORDER],
        "test": NUMBERS["test"][ORDER],
        "params": np.full(SPACE.size, 0.5),
    }
    pa.parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    from_parquet = read_tabular(tmp_path / "a.parquet", MAPPED, name="mine", space="nb201")
    from_csv = read_tabular(write(tmp_path / "a.csv", good), MAPPED, name="mine", space="nb201")
    for key in (VALID, TEST):
        np.testing.assert_array_equal(from_parquet.accuracy[key], from_csv.accuracy[key])


def test_fractions_become_percent(tmp_path: Path, good: Rows) -> None:
    body = [[*r[:2], str(float(r[2]) / 100), str(float(r[3]) / 100), r[4]] for r in good]
    mapped = Mapped({"val": VALID, "test": TEST}, "fraction", search="val")
    table = read_tabular(write(tmp_path / "a.csv", body), mapped, name="mine", space="nb201")
    np.testing.assert_allclose(table.accuracy[VALID], NUMBERS["val"], rtol=1e-6)


def test_one_column_is_in_sample_and_says_so(tmp_path: Path, good: Rows) -> None:
    table = read_tabular(write(tmp_path / "a.csv", good), Mapped({"val": VALID}, "percent"), name="mine", space="nb201")
    assert table.search_key == VALID
    assert "in-sample" in table.remark


def cell(row: int, column: int, value: str) -> Callable[[Rows], Rows]:
    def edit(body: Rows) -> Rows:
        body[row][column] = value
        return body

    return edit


def lines_before(row: int) -> int:
    return 2 * row + 3  # the header, then two lines a row (the note holds a line break), up to the row's last line


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda b: b[:-3], f"3 of 15625 architectures have no row, the first is index {min(ORDER[-3:])} "),
        (lambda b: [], "has no rows"),
        (lambda b: [*b, b[4]], f"row {lines_before(15_625)}: architecture .* stood in row {lines_before(4)} already"),
        (cell(9, 2, "abc"), f"row {lines_before(9)}, column 'val': 'abc' is not a number"),
        (cell(9, 2, "1_0"), f"row {lines_before(9)}, column 'val': '1_0' is not a number"),
        (cell(9, 3, "nan"), f"row {lines_before(9)}, column 'test': 'nan' is not a finite number"),
        (cell(9, 3, "-inf"), "'-inf' is not a finite number"),
        (cell(9, 2, ""), f"row {lines_before(9)}, column 'val' is empty; pass --allow-missing"),
        (cell(9, 2, "100.5"), f"column 'val', row {lines_before(9)}: 100.5 is outside 0..100 for unit percent"),
        (cell(9, 2, "-0.5"), "-0.5 is outside 0..100"),
        (cell(9, 4, "-1"), "outside 0.."),
        (
            cell(9, 1, "|none~0|+|oops~0|none~1|+|none~0|none~1|none~2|"),
            f"row {lines_before(9)}: .*position 10: unknown",
        ),
        (cell(9, 1, ""), f"row {lines_before(9)}: bad architecture string at position 0"),
        (lambda b: [*b[:5], b[5][:-1], *b[6:]], f"row {lines_before(5)}: 4 cells under 5 column names"),
    ],
)
def test_mistakes_in_a_row_name_it(tmp_path: Path, edit: Callable[[Rows], Rows], said: str) -> None:
    path = write(tmp_path / "a.csv", edit(rows()))
    with pytest.raises(TableError, match=said) as caught:
        read_tabular(path, MAPPED, name="mine", space="nb201")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_rows_and_cells_become_holes_only_when_asked(tmp_path: Path) -> None:
    body = cell(0, 3, "")(rows())[:-2]
    mapped = Mapped({"val": VALID, "test": TEST}, "percent", search="val", allow_missing=True)
    table = read_tabular(write(tmp_path / "a.csv", body), mapped, name="mine", space="nb201")
    gone = sorted(ORDER[-2:])
    assert np.flatnonzero(np.isnan(table.accuracy[VALID])).tolist() == gone
    assert np.flatnonzero(np.isnan(table.accuracy[TEST])).tolist() == sorted([*gone, ORDER[0]])
    with_cost = Mapped(mapped.accuracy, "percent", MAPPED.metrics, search="val", allow_missing=True)
    with pytest.raises(TableError, match="a cost needs every architecture, 2 are missing"):
        read_tabular(tmp_path / "a.csv", with_cost, name="mine", space="nb201")


def test_empty_cells_of_a_proxy_need_no_leave(tmp_path: Path) -> None:
    body = cell(1, 4, "")(cell(0, 4, "-1e-3")(rows()))
    as_proxy = Mapped(MAPPED.accuracy, "percent", {"params": ("proxy/synflow", "cifar10")}, search="val")
    table = read_tabular(write(tmp_path / "a.csv", body), as_proxy, name="mine", space="nb201")
    column = table.proxy("synflow", dataset="cifar10")
    assert np.flatnonzero(np.isnan(column)).tolist() == [ORDER[1]]
    assert column[ORDER[0]] == np.float32(-1e-3)
    for edit, mapped, said in (
        (cell(2, 2, ""), as_proxy, "column 'val' is empty; pass --allow-missing"),  # an accuracy still does
        (cell(2, 4, "nan"), as_proxy, "'nan' is not a finite number; leave the cell empty"),
        (lambda b: b, MAPPED, "column 'params' is empty"),  # and so does a cost
        (lambda b: [[*r[:4], ""] for r in b], as_proxy, "has no value at all; leave out its --metric"),
        (lambda b: b[1:], as_proxy, "1 of 15625 architectures have no row"),
    ):
        with pytest.raises(TableError, match=said):
            read_tabular(write(tmp_path / "b.csv", edit([*map(list, body)])), mapped, name="mine", space="nb201")


def test_the_unit_is_never_guessed_but_a_wrong_one_is_told(tmp_path: Path, good: Rows) -> None:
    fractions = [[*r[:2], str(float(r[2]) / 100), *r[3:]] for r in good]
    with pytest.raises(TableError, match=r"no value is above 1, .* pass --unit fraction"):
        read_tabular(write(tmp_path / "a.csv", fractions), MAPPED, name="mine", space="nb201")
    with pytest.raises(TableError, match=r"outside 0\.\.1 for unit fraction; is the unit percent"):
        wrong = Mapped({"val": VALID}, "fraction")
        read_tabular(write(tmp_path / "b.csv", good), wrong, name="mine", space="nb201")


@pytest.mark.parametrize(
    ("mapped", "said"),
    [
        (Mapped({"vall": VALID}, "percent"), "unknown column 'vall'; did you mean 'val'"),
        (Mapped({"val": VALID}, "percent", arch_column="arc"), "unknown column 'arc'; did you mean 'arch'"),
        (Mapped({}, "percent"), "no accuracy column is mapped"),
        (Mapped({"val": VALID, "test": TEST}, "percent"), "say which column a search may see: --search .*val, test"),
        (Mapped({"val": VALID}, "percent", search="test"), "unknown mapped column 'test'"),
        (Mapped({"val": VALID, "test": VALID}, "percent", search="val"), "two columns are mapped to the same key"),
    ],
)
def test_mistakes_in_the_mapping(tmp_path: Path, good: Rows, mapped: Mapped, said: str) -> None:
    with pytest.raises((SpecError, TableError), match=said):
        read_tabular(write(tmp_path / "a.csv", good[:3]), mapped, name="mine", space="nb201")


def test_repeated_column_names_are_refused(tmp_path: Path, good: Rows) -> None:
    path = write(tmp_path / "a.csv", good, ["note", "arch", "val", "val", "params"])
    with pytest.raises(TableError, match="2 columns called 'val'"):
        read_tabular(path, Mapped({"val": VALID}, "percent"), name="mine", space="nb201")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, good: Rows) -> None:
    path = write(tmp_path / "a.csv", [r[1:] for r in good], ["\ufeffarch", *HEADER[2:]])
    assert read_tabular(path, MAPPED, name="mine", space="nb201").search_key == VALID


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"arch,val\n\xff\xfe,1\n", "is not text in UTF-8"),
        ("a.csv", b'arch,val\n"x', "not valid CSV"),
        ("a.csv", b"arch,val\n" + b"x" * (1 << 20), "longer than"),
        ("a.csv.gz", b"no gzip", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"arch,val\n" + b"\n" * 900, mtime=0)[:-9], "cannot be read"),
        ("a.csv.gz", gzip.compress(b"\0" * (1 << 24), mtime=0), "longer than"),
        ("a.parquet", b"no parquet", "not a readable Parquet file"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=said) as caught:
        read_tabular(path, Mapped({"val": VALID}, "percent"), name="mine", space="nb201")
    assert "\n" not in str(caught.value)


def test_a_bomb_of_empty_lines_or_of_text_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 kB of compressed empty lines took a minute to find out that there are no rows."""
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"arch,val,test,params\n" + b"\n" * 50_000_000))
    assert path.stat().st_size < 60_000
    began = time.process_time()
    with pytest.raises(TableError, match="more than 1000 empty lines"):
        read_tabular(path, MAPPED, name="mine", space="nb201")
    assert time.process_time() - began < 1
    monkeypatch.setattr(tabular_file, "_MAX_TEXT", 10_000)
    write(tmp_path / "b.csv", rows())
    with pytest.raises(TableError, match="it is longer than 10000 bytes"):
        read_tabular(tmp_path / "b.csv", MAPPED, name="mine", space="nb201")


def test_many_strange_columns_are_told_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [], [f"a\n{i}" for i in range(5000)])
    with pytest.raises(TableError, match=r"Known: a 0, a 1, .* and 4970 more") as caught:
        read_tabular(tmp_path / "a.csv", MAPPED, name="mine", space="nb201")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_folders_and_absent_files(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "none.csv", "No such file")):
        with pytest.raises(TableError, match=said):
            read_tabular(path, Mapped({"val": VALID}, "percent"), name="mine", space="nb201")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = builtins.__import__

    def no_pyarrow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return ordinary(name, *args, **kwargs)

    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setattr(builtins, "__import__", no_pyarrow)
    with pytest.raises(TableError, match=r"pip install 'pyarrow>=17'"):
        read_tabular(tmp_path / "a.parquet", Mapped({"val": VALID}, "percent"), name="mine", space="nb201")


def test_parquet_mistakes_name_the_row(tmp_path: Path) -> None:
    def save(**columns: Any) -> Path:
        base = {"arch": list(SPACE.strings), "val": NUMBERS["val"].tolist()}
        pa.parquet.write_table(pa.table({**base, **columns}), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    mapped = Mapped({"val": VALID}, "percent")
    val: list[Any] = NUMBERS["val"].tolist()
    for wrong, said in (
        (None, "row 7, column 'val' is empty"),
        (float("nan"), "row 7, column 'val': 'nan' is not a finite"),
    ):
        with pytest.raises(TableError, match=said):
            read_tabular(save(val=[*val[:5], wrong, *val[6:]]), mapped, name="mine", space="nb201")
    with pytest.raises(TableError, match="is not a number"):
        read_tabular(save(val=[True] * SPACE.size), mapped, name="mine", space="nb201")
    with pytest.raises(TableError, match="unknown column 'test'"):
        read_tabular(save(), Mapped({"test": TEST}, "percent"), name="mine", space="nb201")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("v=cifar10/valid/200/mean", ("v", Key("cifar10", "valid", 200, "mean"))),
        ("a=b=my data/test/unstated/run2", ("a=b", Key("my data", "test", "unstated", "run2"))),
        ("v=d/s/1/0", ("v", Key("d", "s", 1, 0))),
    ],
)
def test_map_syntax(text: str, key: tuple[str, Key]) -> None:
    assert parse_map(text) == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write COLUMN=DATASET"),
        ("v", "write COLUMN=DATASET"),
        ("=a/b/1/1", "write COLUMN=DATASET"),
        ("v=a/b/1", "write COLUMN=DATASET"),
        ("v=a/b/1/1/1", "write COLUMN=DATASET"),
        ("v=a//1/1", "write COLUMN=DATASET"),
        ("v=a/b/x/1", "epochs 'x' is neither"),
        ("v=a/b/0/1", "epochs '0' is neither"),
        ("v=a/b/-1/1", "epochs '-1' is neither"),
        ("v=a/b/1/median", "seed 'median' is neither a number nor one of mean, single, run0"),
    ],
)
def test_map_mistakes(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_map(text)


def test_metric_syntax() -> None:
    for text, key in (
        ("t=train_time_s/cifar10", ("t", ("train_time_s", "cifar10"))),
        ("a=b=proxy/synflow/my data", ("a=b", ("proxy/synflow", "my data"))),
        ("l=latency_ms/edge-gpu.2/cifar10", ("l", ("latency_ms/edge-gpu.2", "cifar10"))),
    ):
        assert parse_metric(text) == key
    for text, said in (
        ("t", "write COLUMN=METRIC"),
        ("t=params_m", "write"),
        ("t=/cifar10", "write"),
        ("t=proxy/synflow/", "write"),
        ("=proxy/synflow/cifar10", "write"),
        ("t=param_m/c", "did you mean 'params_m'"),
        ("t=params_m/x/c", "unknown metric 'params_m/x'"),
        ("t=proxy/synflow", "unknown metric 'proxy'; did you mean 'proxy/NAME'"),
        ("t=prox/synflow/c", "unknown metric 'prox/synflow'"),
        ("t=accuracy/c", "unknown metric 'accuracy'"),
        ("t=proxy//c", "'' cannot be the NAME in proxy/NAME"),
        ("t=proxy/a/b/c", "'a/b' cannot be the NAME"),
        ("t=proxy/a b/c", "'a b' cannot be the NAME"),
    ):
        with pytest.raises(SpecError, match=said):
            parse_metric(text)
