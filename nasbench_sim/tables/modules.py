"""`ModuleTable`: what NAS-Bench-101 measured, by module: accuracies and seconds of every training run.

A module's row is found by its official hash, so any labelling of its vertices, pruned or not, finds it. A number has
the key (epochs, run, split, when), and none of the four has a default:

    epochs  the training budget: 4, 12, 36 or 108 where the file had it
    run     `run0`, `run1`, `run2` in the order of the file, or `mean` over the runs there are
    split   `train`, `valid`, `test`: 9,984 images each (batches of 256 out of 10,000)
    when    `final`, or `halfway` through the same training (its learning rate does not reach 0 there, so halfway of
            108 epochs is not a training of 54)

Accuracies are percent, as in every table; `fractions` gives them as stored, fractions of 1 in the float32 in which the
official files hold them, for what must agree with other readers bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasbench_sim.errors import ArchError, NotMeasured, TableError, unknown
from nasbench_sim.spaces.nb101 import Module, flaw, module_hash
from nasbench_sim.spaces.nb101_batch import Hashes, rows_of
from nasbench_sim.tables.module_codes import Codes, check_codes, module_of
from nasbench_sim.tables.table import FloatArray, Source
from nasbench_sim.tables.tensor_file import TensorFile, tensors_sha256, write_tensors

Run = Literal["run0", "run1", "run2", "mean"]
Split = Literal["train", "valid", "test"]
When = Literal["halfway", "final"]
Float64 = npt.NDArray[np.float64]

NAME = "nb101"
KIND = "nasbench-sim modules"
RUNS: tuple[Run, ...] = ("run0", "run1", "run2")
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
WHENS: tuple[When, ...] = ("halfway", "final")
ALL_MODULES = 423_624
SECONDS = "seconds"
_TOP = {SECONDS: 1e9, "train": 1.0, "valid": 1.0, "test": 1.0}


class Arrays(Protocol):
    """Arrays by name: a dictionary, or a file that reads them when they are asked for."""

    def __getitem__(self, name: str, /) -> npt.NDArray[Any]: ...


def column_name(epochs: int, run: str, when: str, what: str) -> str:
    """Name of the array of one number of all modules; `what` is a split or `seconds`.

    >>> column_name(108, "run0", "final", "valid")
    '108/run0/final/valid'
    """
    return f"{epochs}/{run}/{when}/{what}"


class ModuleTable:
    """NAS-Bench-101, or a part of it: `size` modules, sorted by hash.

    `arrays` holds `hashes` (uint8 `[N, 32]`), `codes` (uint64 `[N]`, see `module_codes`), `params` (int32 `[N]`) and
    for each of `budgets`, run, when and split or `seconds` a float32 `[N]` called `column_name(...)`. `sources` say
    where it comes from, `notes` what a reader should know, `sha256` names its content. Importers make it;
    `catalogue.open_modules` opens what they kept. All arrays that it gives are read-only.
    """

    name = NAME

    def __init__(
        self,
        arrays: Arrays,
        *,
        budgets: Sequence[int],
        sources: Sequence[Source] = (),
        notes: Sequence[str] = (),
        sha256: str = "",
    ) -> None:
        self.budgets = tuple(budgets)
        self.sources = tuple(sources)
        self.notes = tuple(notes)
        self.sha256 = sha256
        self._arrays = arrays
        self._kept: dict[str, npt.NDArray[Any]] = {}

    @property
    def hashes(self) -> Hashes:
        """Official hashes, `S32 [N]`, ascending."""
        return self._keep("hashes", lambda: _hashes(self._arrays["hashes"]))

    @property
    def codes(self) -> Codes:
        """Modules as numbers `[N]`, labelled as their source labels them."""
        return self._keep("codes", lambda: self._column("codes", "<u8"))

    @property
    def params(self) -> npt.NDArray[np.int32]:
        """Trainable parameters `[N]` of the whole network."""
        return self._keep("params", lambda: self._column("params", "<i4"))

    @property
    def size(self) -> int:
        """How many modules were measured, of 423,624."""
        return len(self.hashes)

    def module(self, row: int) -> Module:
        """`(matrix, ops)` of a row, as its source labels the vertices; raises `ArchError` for no row."""
        if not 0 <= row < self.size:
            raise ArchError(f"a row of table {self.name} is an integer in 0..{self.size - 1}, got {row}")
        return module_of(int(self.codes[row]))

    def rows(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        """Rows `[...]` of `hashes[...]`, -1 for a module that is not here."""
        return rows_of(hashes, self.hashes)

    def row(self, matrix: npt.ArrayLike, ops: Sequence[str]) -> int:
        """Row of a module; raises `ArchError` for what is no module of NAS-Bench-101, `NotMeasured` where absent."""
        why = flaw(matrix, ops)
        if why:
            raise ArchError(f"not a module of NAS-Bench-101: {why}")
        name = module_hash(matrix, ops).encode()
        row = int(np.searchsorted(self.hashes, np.bytes_(name)))
        if row == self.size or self.hashes[row] != name:
            raise NotMeasured(
                f"table {self.name} does not have module {name.decode()}: it holds {self.size} of {ALL_MODULES} modules"
                + ("; `nasbench-sim tables fetch nb101` gets all" if self.size < ALL_MODULES else "")
            )
        return row

    def query(
        self, matrix: npt.ArrayLike, ops: Sequence[str], *, epochs: int, run: Run, split: Split, when: When
    ) -> float:
        """Accuracy of one module in percent: the shortest decimal of its float32, as `Table.query` answers.

        Raises `NotMeasured` for a number that is not here, `ArchError` for what is no module.
        """
        column = self.values(epochs=epochs, run=run, split=split, when=when)
        return self._answer(column, matrix, ops, f"{split} of {run}, {epochs} epochs, {when}")

    def query_seconds(self, matrix: npt.ArrayLike, ops: Sequence[str], *, epochs: int, run: Run, when: When) -> float:
        """Seconds of training of one module, to the end or halfway; raises as `query`."""
        column = self.seconds(epochs=epochs, run=run, when=when)
        return self._answer(column, matrix, ops, f"seconds of {run}, {epochs} epochs, {when}")

    def _answer(self, column: FloatArray, matrix: npt.ArrayLike, ops: Sequence[str], asked: str) -> float:
        value = column[self.row(matrix, ops)]
        if np.isnan(value):
            raise NotMeasured(f"table {self.name}: {asked} was not measured for this module")
        return float(str(value))

    def values(self, *, epochs: int, run: Run, split: Split, when: When) -> FloatArray:
        """Accuracies `[N]` in percent, float32, NaN where there was no such run; raises `NotMeasured` for no key."""
        wide = self.fractions(epochs=epochs, run=run, split=split, when=when)
        name = f"{column_name(epochs, run, when, split)} %"
        return self._keep(name, lambda: (wide.astype(np.float64) * 100.0).astype(np.float32))

    def fractions(self, *, epochs: int, run: Run, split: Split, when: When) -> npt.NDArray[np.floating[Any]]:
        """Accuracies `[N]` as fractions of 1: of a run the file's own float32, the mean in float64."""
        self._check_key(epochs, run, split, SPLITS, when)
        return self._number(epochs, run, when, split)

    def seconds(self, *, epochs: int, run: Run, when: When) -> FloatArray:
        """Seconds of training `[N]`, without evaluation, float32; NaN where there was no such run."""
        self._check_key(epochs, run, SECONDS, (SECONDS,), when)
        return self._number(epochs, run, when, SECONDS).astype(np.float32, copy=False)

    def _check_key(self, epochs: int, run: str, split: str, splits: Sequence[str], when: str) -> None:
        asked: tuple[tuple[str, object, Sequence[object]], ...] = (
            ("epochs", epochs, self.budgets),
            ("run", run, (*RUNS, "mean")),
            ("split", split, splits),
            ("when", when, WHENS),
        )
        for kind, value, known in asked:
            if value not in known:
                if str(value) in map(str, known):  # "108" and 108 look alike in a message
                    raise NotMeasured(f"table {self.name}: {kind} must be the number {value}, got {value!r}")
                raise NotMeasured(f"table {self.name}: {unknown(kind, value, known)}")

    def _number(self, epochs: int, run: str, when: str, what: str) -> npt.NDArray[np.floating[Any]]:
        name = column_name(epochs, run, when, what)
        if run == "mean":
            return self._keep(name, lambda: _mean([self._number(epochs, one, when, what) for one in RUNS]))
        return self._keep(name, lambda: self._column(name, "<f4", _TOP[what]))

    def _keep(self, name: str, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """An array that is checked or worked out once."""
        out = self._kept.get(name)
        if out is None:
            out = make()
            out.setflags(write=False)
            self._kept[name] = out
        return out

    def _column(self, name: str, dtype: str, top: float | None = None) -> npt.NDArray[Any]:
        """An array of the source, once it is what it should be: its seal says that it was not damaged, not this."""
        out = self._arrays[name]
        good = out.dtype == np.dtype(dtype) and out.shape == (self.size,)
        if good and top is not None:
            good = bool((np.isnan(out) | ((out >= 0) & (out <= top))).all())
        if not good:
            limits = f" in 0..{top:g}" if top else ""
            raise TableError(f"table {self.name}: {name} is not {self.size} numbers{limits}; import it again")
        return out


def _hashes(raw: npt.NDArray[np.uint8]) -> Hashes:
    out = raw.view("S32")[:, 0] if raw.dtype == np.uint8 and raw.ndim == 2 and raw.shape[1] == 32 else None
    if out is None or not len(out) or not (out[1:] > out[:-1]).all():
        raise TableError(f"table {NAME}: its hashes are not 32 digits each, in ascending order; import it again")
    return out


def _mean(runs: Sequence[FloatArray]) -> Float64:
    """Mean over the runs that there are, float64 `[N]`; NaN where there is none. Added in the order of the runs."""
    total, count = np.zeros(len(runs[0])), np.zeros(len(runs[0]))
    for run in runs:
        there = ~np.isnan(run)
        total[there] += run[there]
        count += there
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))


def array_names(budgets: Sequence[int]) -> list[str]:
    """Every array of a table with these budgets, in the order of its file.

    >>> array_names([108])[:4]
    ['hashes', 'codes', 'params', '108/run0/halfway/seconds']
    """
    numbers = [column_name(e, run, when, what) for e in budgets for run in RUNS for when in WHENS for what in _TOP]
    return ["hashes", "codes", "params", *numbers]


def write_modules(table: ModuleTable, path: Path | str) -> str:
    """Write a table of modules as one file, atomically; returns the sha256 that names its content."""
    return write_tensors(path, KIND, *_content(table))


def modules_sha256(table: ModuleTable) -> str:
    """The sha256 that `write_modules` would return: equal for equal content."""
    return tensors_sha256(KIND, *_content(table))


def _content(table: ModuleTable) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    facts = {
        "budgets": list(table.budgets),
        "sources": [asdict(source) for source in table.sources],
        "notes": list(table.notes),
    }
    return facts, {name: table._arrays[name] for name in array_names(table.budgets)}


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    budgets: list[Literal[4, 12, 36, 108]] = Field(min_length=1, max_length=4)
    sources: list[Source]
    notes: list[str]


def read_modules(path: Path | str) -> ModuleTable:
    """The table in a file of `write_modules`: its head is checked now, each of its arrays when it is first asked for.

    Raises `TableError`, one line that names the file, for anything that is not exactly such a file.
    """
    file = TensorFile(path, KIND)
    try:
        facts = _Facts.model_validate_json(json.dumps(file.facts), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise TableError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; import it again") from error
    budgets = sorted(set(facts.budgets))
    if set(file.names()) != set(array_names(budgets)):
        raise TableError(f"{path}: does not hold the arrays of a table of modules; import it again")
    return ModuleTable(file, budgets=budgets, sources=facts.sources, notes=facts.notes, sha256=file.sha256)


def verify_modules(table: ModuleTable) -> None:
    """Read and check every number of a table; raises `TableError` for the first that is damaged or cannot be."""
    try:
        check_codes(table.codes)
    except ArchError as error:
        raise TableError(f"table {table.name}: {error}; import it again") from error
    if (table.params < 0).any():
        raise TableError(f"table {table.name}: a module has a negative number of parameters; import it again")
    for name in array_names(table.budgets)[3:]:
        table._column(name, "<f4", _TOP[name.rpartition("/")[2]])
