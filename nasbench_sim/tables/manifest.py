"""What a table file says about its columns: one JSON document, and the digest that names a table's content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasbench_sim.errors import SpecError, TableError
from nasbench_sim.spaces import Space, get_space
from nasbench_sim.tables.columns import FloatArray, check_column, may_have_holes
from nasbench_sim.tables.holes import Mask, check_completed, untrained
from nasbench_sim.tables.table import Epochs, Key, Seed, Source, Table

SCHEMA = 1
_MAX_COLUMNS = 10_000

_Text = Annotated[str, Field(max_length=10_000)]
_OneLine = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]  # it stands in one-line messages
_KeyParts = tuple[_OneLine, _OneLine, Epochs, Seed]
Accuracy = dict[Key, FloatArray]
Metrics = dict[tuple[str, str], FloatArray]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _AccuracyColumn(_Strict):
    key: _KeyParts
    sha256: str


class _MetricColumn(_Strict):
    key: tuple[_OneLine, _OneLine]
    sha256: str


class Manifest(_Strict):
    """The document inside a table file; see `store` for the file around it."""

    format: Literal["nasbench-sim table"]
    schema_version: Literal[1]
    name: _OneLine
    space: _OneLine
    size: int
    accuracy: list[_AccuracyColumn] = Field(min_length=1, max_length=_MAX_COLUMNS)
    metrics: list[_MetricColumn] = Field(max_length=_MAX_COLUMNS)
    search_key: _KeyParts
    report_keys: list[tuple[_OneLine, _KeyParts]]  # pairs, because JSON objects are sorted and roles have an order
    sources: list[Source]
    remark: _Text
    extra: dict[str, Any]


@cache
def cached_space(name: str) -> Space:
    """One instance of a space a process: its index order and strings are worked out once, not once a table.

    >>> cached_space("nb201") is cached_space("nb201")
    True
    """
    return get_space(name)


def columns(table: Table) -> tuple[Accuracy, Metrics]:
    """The columns in canonical order, checked; every NaN in its one canonical form. Raises `TableError`."""

    def checked(values: FloatArray, what: str, kind: str, absent: Mask | None = None) -> FloatArray:
        out = check(values, kind, what=f"{table.name} {what}", size=table.space.size, absent=absent).copy()
        out[np.isnan(out)] = np.nan
        return out

    ordered = table.keys()
    accuracy = {key: checked(table.accuracy[key], str(key), "accuracy") for key in ordered}
    check_completed(accuracy, table.name)
    absent = untrained(accuracy)
    metrics = {
        key: checked(table.metrics[key], f"{key[0]} ({key[1]})", key[0], absent) for key in sorted(table.metrics)
    }
    return accuracy, metrics


def check(values: FloatArray, kind: str, *, what: str, size: int, absent: Mask | None) -> FloatArray:
    """`check_column`, where a cost of training may have holes in rows that are `absent`: never trained at all."""
    if may_have_holes(kind) or absent is None or not absent.any():
        return check_column(values, what=what, kind=kind, size=size, holes=may_have_holes(kind))
    out = check_column(values, what=what, kind=kind, size=size)
    bad = np.isnan(out) & ~absent
    if bad.any():
        raise TableError(f"{what}: row {int(np.argmax(bad))} holds nan, but an accuracy of it was measured")
    return out


def write_manifest(table: Table, accuracy: Accuracy, metrics: Metrics) -> bytes:
    """The document of a table whose `columns` are given; raises `TableError` where it could not be read back."""
    document = {
        "format": "nasbench-sim table",
        "schema_version": SCHEMA,
        "name": table.name,
        "space": table.space.name,
        "size": table.space.size,
        "accuracy": [{"key": list(k), "sha256": column_sha256(v)} for k, v in accuracy.items()],
        "metrics": [{"key": list(k), "sha256": column_sha256(v)} for k, v in metrics.items()],
        "search_key": list(table.search_key),
        "report_keys": [[role, list(key)] for role, key in table.report_keys.items()],
        "sources": [asdict(s) for s in table.sources],
        "remark": table.remark,
        "extra": dict(table.extra),
    }
    try:
        text = _json(document)
    except (TypeError, ValueError) as error:
        raise TableError(f"table {table.name}: its extra facts cannot be written as JSON ({error})") from error
    read_manifest(text, f"table {table.name}")
    return text


def read_manifest(text: bytes, where: str) -> Manifest:
    """The document of a file, checked on its own; raises `TableError`, one line that begins with `where`."""
    try:
        manifest = Manifest.model_validate_json(text, strict=True)
        canonical = _json(json.loads(text)) == text  # so that no key stands twice and the digest has one meaning
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(p) for p in first["loc"]) or "document"
        raise TableError(
            f"{where}: not a table of schema {SCHEMA}: {at}: {first['msg']}; fetch or import it again"
        ) from error
    if not canonical:
        raise TableError(f"{where}: its manifest is not in canonical form")
    keys = [c.key for c in manifest.accuracy]
    if len(set(keys)) != len(keys) or len({m.key for m in manifest.metrics}) != len(manifest.metrics):
        raise TableError(f"{where}: a column is listed twice")
    for parts in (manifest.search_key, *(key for _, key in manifest.report_keys)):
        if parts not in keys:
            raise TableError(f"{where}: search or report key {Key(*parts)} is not among its columns")
    try:
        size = cached_space(manifest.space).size
    except SpecError as error:
        raise TableError(f"{where}: {error}") from error
    if size != manifest.size:
        raise TableError(f"{where}: {manifest.size} rows do not fit the {size} of search space {manifest.space}")
    return manifest


def digest(manifest: bytes) -> str:
    """sha256 of a manifest without the table's name."""
    document = json.loads(manifest)
    del document["name"]
    return hashlib.sha256(_json(document)).hexdigest()


def column_sha256(column: FloatArray) -> str:
    """sha256 of a column's little-endian float32 bytes."""
    return hashlib.sha256(np.ascontiguousarray(column, dtype="<f4").data).hexdigest()


def content_sha256(table: Table) -> str:
    """sha256 of what a table says: numbers, keys, provenance, remark. Equal for equal content, wherever it is stored.

    The table's name is left out, so that a copy under another name is seen to be the same.
    """
    return digest(write_manifest(table, *columns(table)))


def stamped(table: Table) -> Table:
    """The same table with `sha256` set to its content's; builders call this so that a run can name its table."""
    return replace(table, sha256=content_sha256(table))


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
