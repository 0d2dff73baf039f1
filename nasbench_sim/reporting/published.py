"""Published NAS-Bench-201 results, typed from the papers into `data/published/*.json`, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasbench_sim.errors import TableError
from nasbench_sim.resources import data_path

Role = Literal["valid", "test"]
#: what a method without the parameter does: our DARTS and BaLeNAS are first order
IMPLIED: Mapping[str, Any] = {"order": 1}
#: values of ours that a printed one stands for: the papers say SynFlow, and we have it from two sources
ALIKE: Mapping[str, str] = {"synflow-mean": "synflow"}
Percent = Annotated[float, Field(ge=0.0, le=100.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Row(_Strict):
    """One row of a published table, over all data sets; fields as in `data/published/README.md`."""

    label: str
    methods: tuple[str, ...]
    params: dict[str, int | float | str]
    kind: Literal["search", "optimum", "reference", "ensemble"]
    n: Annotated[int, Field(ge=1)] | None
    searched_on: Literal["cifar10", "each", "unstated"]
    epochs: dict[str, Annotated[int, Field(ge=1)]]
    remark: str
    corrections: dict[str, dict[Role, Percent]]
    results: dict[str, dict[Role, tuple[Percent, Percent | None]]]


class _File(_Strict):
    """One published table: its source, where in the source it stands, and its rows."""

    schema_: Literal[1] = Field(alias="schema")
    source: str
    where: str
    benchmark: Literal["nb201"]
    note: str
    absent: dict[str, str]
    rows: tuple[_Row, ...]


class Score(_Strict):
    """A printed mean and sd in percent; `sd` is None where none is printed, `corrected` is set for a misprint."""

    mean: float
    sd: float | None
    corrected: float | None = None


class PublishedRow(_Strict):
    """One published result on one data set.

    Attributes
    ----------
    label: the method's name in the source, e.g. `BaLeNAS (1st)`.
    source, where: the paper, and the table in it.
    kind: `search`, `optimum`, `reference` or `ensemble`.
    scores: role (`valid`, `test`) -> `Score`, accuracy in percent as printed.
    n: searches behind the mean, None where the source does not say.
    epochs: search epochs, None where not given.
    searched_on: `cifar10` (the cell found there is scored on every data set), `each` data set, or `unstated`.
    params: our parameters that the row belongs to, e.g. `{"order": 1}`; empty where it fits every setting.
    remark: misprints and differences of protocol, one line.
    """

    label: str
    source: str
    where: str
    kind: str
    scores: dict[Role, Score]
    n: int | None
    epochs: int | None
    searched_on: str
    params: dict[str, int | float | str]
    remark: str

    @property
    def cited(self) -> str:
        """The paper, and the table in it."""
        return f"{self.source}, {self.where}"


def _read(path: Path) -> _File:
    try:
        return _File.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise TableError(f"{path} is not a file of published results ({reason}); install nasbench-sim again") from error


@lru_cache(maxsize=32)
def _one_file(path: Path) -> _File:
    return _read(path)


@lru_cache(maxsize=4)
def _files(folder: Path) -> tuple[_File, ...]:
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise TableError(f"no published results in {folder}; install nasbench-sim again")
    return tuple(_read(path) for path in paths)


def _on_dataset(file: _File, row: _Row, dataset: str) -> PublishedRow:
    fixed = row.corrections.get(dataset, {})
    return PublishedRow(
        label=row.label,
        source=file.source,
        where=file.where,
        kind=row.kind,
        scores={
            role: Score(mean=mean, sd=sd, corrected=fixed.get(role))
            for role, (mean, sd) in row.results[dataset].items()
        },
        n=row.n,
        epochs=row.epochs.get(dataset),
        searched_on=row.searched_on,
        params=row.params,
        remark=row.remark,
    )


def all_rows(dataset: str, *, folder: Path | None = None) -> list[PublishedRow]:
    """Every published row on `dataset` (`cifar10`, `cifar100`, `ImageNet16-120`), optima and ensembles included.

    Raises `TableError` where the files are missing or damaged.
    """
    files = _files(folder or data_path("published"))
    return [_on_dataset(file, row, dataset) for file in files for row in file.rows if dataset in row.results]


def published_rows(
    method: str, dataset: str, *, params: Mapping[str, Any] | None = None, folder: Path | None = None
) -> list[PublishedRow]:
    """The published searches that our `method` is compared with on `dataset`, in the order of the files.

    `params` (the run's parameters, `IMPLIED` where it lacks one) drops rows that belong to another setting, e.g. the
    second-order row for a first-order run; None drops nothing. An empty list means that nothing was published, or
    that `method` is not in the files; `absent_note` says which.

    >>> [row.label for row in published_rows("balenas", "cifar10", params={"samples": 3})]
    ['BaLeNAS (1st)']
    >>> published_rows("balenas", "cifar10", params={"order": 2})[0].scores["test"].mean
    94.02
    """
    have = None if params is None else {**IMPLIED, **params}
    found = []
    for file in _files(folder or data_path("published")):
        for row in file.rows:
            if row.kind != "search" or method not in row.methods or dataset not in row.results:
                continue
            if have is not None and any(_plain(have.get(name)) != value for name, value in row.params.items()):
                continue
            found.append(_on_dataset(file, row, dataset))
    return found


def _plain(value: Any) -> Any:
    return ALIKE.get(value, value) if isinstance(value, str) else value


def labelled_row(file: str, label: str, dataset: str, *, folder: Path | None = None) -> PublishedRow | None:
    """The row of that label in one file of published results, or None where it has no number on `dataset`.

    Raises `TableError` for a file or label that does not exist.

    >>> labelled_row("balenas_table1.json", "BaLeNAS (2nd)", "cifar10").scores["test"].mean
    94.02
    """
    path = (folder or data_path("published")) / file
    one = _one_file(path)
    for row in one.rows:
        if row.label == label:
            return _on_dataset(one, row, dataset) if dataset in row.results else None
    raise TableError(f"{path} has no row {label!r}; it has {', '.join(row.label for row in one.rows)}")


def absent_note(method: str, *, folder: Path | None = None) -> str:
    """Why a method has no published row, one line: known to be absent, or merely not in our files.

    >>> absent_note("parsec")
    'no PARSEC result on NAS-Bench-201 has been published: ours stands alone'
    """
    for file in _files(folder or data_path("published")):
        if method in file.absent:
            return file.absent[method]
    return "no published NAS-Bench-201 row is at hand for this method and data set"
