"""The records of the official NAS-Bench-101 files, decoded in bulk.

A record is one training run, as JSON:

    [module_hash, epochs, adjacency, operations, metrics]

`module_hash` is 32 hexadecimal digits; `epochs` the budget (4, 12, 36 or 108); `adjacency` V * V digits 0 and 1;
`operations` V names joined by commas; `metrics` a ModelMetrics message in base64, in lines (the files end a line every
76 characters) or in one piece. The three runs of a module and budget are three records, told apart by their order
alone.

All records of a batch are parsed in one call of `json.loads`; where that does not give what it should, the batch is
gone through one by one to name the record.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from contextlib import suppress
from re import fullmatch
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError, TableError
from nasbench_sim.tables.module_codes import Codes, graph_code, ops_code
from nasbench_sim.tables.nb101_metrics import MetricsReader

BUDGETS = (4, 12, 36, 108)
_PARTS = {"module_hash": str, "epochs": int, "adjacency": str, "operations": str, "metrics": str}


class Runs(NamedTuple):
    """`n` training runs: module hash `S32 [n]`, code, epochs, parameters and numbers (see `nb101_metrics.Metrics`)."""

    hashes: npt.NDArray[np.bytes_]
    codes: Codes
    epochs: npt.NDArray[np.int64]
    params: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class RecordDecoder:
    """Decodes batches of records; remembers the graphs, operations and layouts that it has seen."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._metrics = MetricsReader()
        self._graphs: dict[str, int] = {}
        self._ops: dict[str, int] = {}

    def decode(self, first: int, records: Sequence[bytes]) -> Runs:
        """The runs of a batch whose first record has number `first`; raises `TableError` naming the record."""
        hashes, epochs, adjacency, operations, metrics = self._parts(first, records)
        codes = self._codes(first, adjacency, operations)
        messages = [self._message(first + i, text) for i, text in enumerate(metrics)]
        read = self._metrics.read(messages, self.where, first)
        names = np.array(hashes, dtype="S32")
        return Runs(names, codes, np.array(epochs, dtype=np.int64), read.params, read.values)

    def _parts(self, first: int, records: Sequence[bytes]) -> list[Sequence[Any]]:
        parts: list[Sequence[Any]] = []
        # no string of JSON holds a line end, so none reaches over two records; flat lists that begin and end with
        # the records, as many as there are records, are the records
        if {record[:1] + record[-1:] for record in records} == {b"[]"}:
            with suppress(ValueError, TypeError, RecursionError):
                rows = json.loads((b"[" + b",\n".join(records) + b"]").decode())
                if len(rows) == len(records) and set(map(type, rows)) == {list}:
                    parts = list(zip(*rows, strict=True))
        if len(parts) != 5 or not _plausible(parts):
            parts = list(zip(*(self._row(first + i, record) for i, record in enumerate(records)), strict=True))
        return parts

    def _row(self, number: int, record: bytes) -> list[Any]:
        where = f"{self.where}: record {number}"
        try:
            row = json.loads(record.decode())
        except (ValueError, RecursionError) as error:
            raise TableError(f"{where} is not JSON ({str(error)[:80]})") from None
        if type(row) is not list or len(row) != 5:
            raise TableError(f"{where} is not a list of {', '.join(_PARTS)}")
        for value, (name, kind) in zip(row, _PARTS.items(), strict=True):
            if type(value) is not kind:
                raise TableError(f"{where}: {name} is {type(value).__name__}, not {kind.__name__}")
        if not fullmatch("[0-9a-f]{32}", row[0]):
            raise TableError(f"{where}: module_hash {row[0][:40]!r} is not 32 hexadecimal digits")
        if row[1] not in BUDGETS:
            raise TableError(f"{where}: epochs {row[1]} is none of {', '.join(map(str, BUDGETS))}")
        return row

    def _codes(self, first: int, adjacency: Sequence[str], operations: Sequence[str]) -> Codes:
        graphs = self._looked_up(first, self._graphs, adjacency, graph_code)
        ops = self._looked_up(first, self._ops, operations, lambda text: ops_code(text.split(",")))
        if ((graphs ^ ops) & np.uint64(7)).any():
            i = int(np.argmax((graphs ^ ops) & np.uint64(7) != 0))
            raise TableError(
                f"{self.where}: record {first + i} has a graph of {int(graphs[i]) & 7} vertices and {int(ops[i]) & 7} "
                "operations"
            )
        return graphs | ops

    def _looked_up(self, first: int, known: dict[str, int], texts: Sequence[str], code: Callable[[str], int]) -> Codes:
        try:
            return np.array([known[text] for text in texts], dtype=np.uint64)
        except KeyError:
            for i, text in enumerate(texts):
                if text not in known:
                    try:
                        known[text] = code(text)
                    except ArchError as error:
                        raise TableError(f"{self.where}: record {first + i}: {error}") from None
        return np.array([known[text] for text in texts], dtype=np.uint64)

    def _message(self, number: int, text: str) -> bytes:
        try:
            return a2b_base64(text.replace("\n", ""), strict_mode=True)
        except ValueError as error:  # also text that is not ASCII
            raise TableError(f"{self.where}: record {number}: its metrics are not base64 ({error})") from None


def _plausible(parts: Sequence[Sequence[Any]]) -> bool:
    """Whether the columns of a batch are of their types, with hashes and budgets that can be."""
    typed = all(set(map(type, part)) == {kind} for part, kind in zip(parts, _PARTS.values(), strict=True))
    return (
        typed
        and set(map(len, parts[0])) == {32}
        and fullmatch("[0-9a-f]*", "".join(parts[0])) is not None
        and set(parts[1]) <= set(BUDGETS)
    )
