"""The tables of a paper as runs: which search stands for which row, read strictly from `data/papers/*.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nasbench_sim.errors import SpecError, TableError, unknown
from nasbench_sim.resources import data_path
from nasbench_sim.runs.problem import default_landscape
from nasbench_sim.runs.spec import RunSpec, make_spec
from nasbench_sim.tables.table import Table

Quantity = Literal["valid", "test", "epochs"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Search(_Strict):
    """The search that stands for a row.

    `epochs`, `steps_per_epoch`: those of the paper, where it states them. `searched_on`: `each` data set, or `cifar10`
    with the cell found there scored on every data set. `params_on`: parameters that only one data set needs.
    `most_seeds`: a bound on the number of seeds for methods that cost seconds a seed.
    """

    method: str
    params: dict[str, Any] = Field(default_factory=dict)
    params_on: dict[str, dict[str, Any]] = Field(default_factory=dict)
    landscape: Literal["tabular", "shared", "evaluations"] | None = None
    landscape_params: dict[str, Any] = Field(default_factory=dict)
    epochs: Annotated[int, Field(ge=1)] = 50
    steps_per_epoch: Annotated[int, Field(ge=1)] = 391
    budget: float | None = None
    searched_on: Literal["each", "cifar10"] = "each"
    most_seeds: Annotated[int, Field(ge=1)] | None = None


class Row(_Strict):
    """One row: its label, the published row beside it (file, label), and our search or why there is none."""

    label: str
    published: tuple[str, str] | None = None
    search: Search | None = None
    optimum: bool = False
    unavailable: str = ""
    remark: str = ""

    @model_validator(mode="after")
    def _one_of(self) -> Row:
        if (self.search is not None) + self.optimum + bool(self.unavailable) != 1:
            raise ValueError(f"row {self.label!r} needs one of search, optimum and unavailable")
        return self


class PaperTable(_Strict):
    """One table of the paper: its name and title, what it reports, on which data sets, and its rows."""

    name: str
    title: str
    quantities: tuple[Quantity, ...] = ("valid", "test")
    datasets: tuple[str, ...] = ("cifar10", "cifar100", "ImageNet16-120")
    rows: tuple[Row, ...]


class PaperFigure(_Strict):
    """A figure: its file's name, the figure kind of the gallery, one data set, and the rows (labels) drawn."""

    name: str
    title: str
    kind: str
    table: str
    dataset: str = "cifar10"
    rows: tuple[str, ...]


class Paper(_Strict):
    """What `reproduce --paper NAME` makes."""

    schema_: Literal[1] = Field(alias="schema")
    name: str
    title: str
    citation: str
    note: str
    tables: tuple[PaperTable, ...]
    figures: tuple[PaperFigure, ...] = ()


def paper_names(folder: Path | None = None) -> list[str]:
    """Papers whose tables can be made again.

    >>> "balenas" in paper_names()
    True
    """
    return sorted(path.stem for path in (folder or data_path("papers")).glob("*.json"))


def load_paper(name: str, folder: Path | None = None) -> Paper:
    """A paper by name; raises `SpecError` for an unknown one and `TableError` for a damaged file."""
    folder = folder or data_path("papers")
    if name not in paper_names(folder):
        raise SpecError(unknown("paper", name, paper_names(folder)))
    path = folder / f"{name}.json"
    try:
        return Paper.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split("\n")[:3])
        raise TableError(f"{path} does not describe a paper ({reason}); install nasbench-sim again") from error


def wanted(
    paper: Paper, table: Table, *, seeds: int | Sequence[int], datasets: Sequence[str] | None = None
) -> dict[tuple[str, str, str], RunSpec]:
    """The specification behind every (table, row label, data set) that has a search; equal searches have equal ones.

    Whether this table can give them is not looked at here. Raises `SpecError` for an impossible specification.
    """
    out: dict[tuple[str, str, str], RunSpec] = {}
    for one in paper.tables:
        for row in one.rows:
            if row.search is None:
                continue
            for dataset in chosen(one, datasets):
                out[one.name, row.label, dataset] = _spec(row.search, table, dataset, seeds)
    return out


def chosen(table: PaperTable, datasets: Sequence[str] | None) -> list[str]:
    """The table's data sets, or those of them that were asked for."""
    return [d for d in table.datasets if datasets is None or d in datasets]


def _spec(search: Search, table: Table, dataset: str, seeds: int | Sequence[int]) -> RunSpec:
    where = "cifar10" if search.searched_on == "cifar10" else dataset
    some: int | tuple[int, ...] = seeds if isinstance(seeds, int) else tuple(seeds)
    if search.most_seeds is not None:
        some = min(some, search.most_seeds) if isinstance(some, int) else some[: search.most_seeds]
    return make_spec(
        method=search.method,
        params={**search.params, **search.params_on.get(where, {})},
        table=table.name,
        dataset=where,
        landscape=search.landscape or default_landscape(search.method),
        landscape_params=dict(search.landscape_params),
        seeds=some,
        epochs=search.epochs,
        steps_per_epoch=search.steps_per_epoch,
        budget=search.budget,
    )


def unique(specs: Mapping[Any, RunSpec]) -> list[RunSpec]:
    """Each specification once, in the order of first use."""
    seen: dict[str, RunSpec] = {}
    for spec in specs.values():
        seen.setdefault(spec.model_dump_json(), spec)
    return list(seen.values())


def folder_name(spec: RunSpec) -> str:
    """A folder for this run among those of a paper: readable, and unlike for specifications that differ beyond seeds.

    >>> folder_name(make_spec(method="darts", table="nb201", dataset="cifar10", seeds=3)).rpartition("-")[0]
    'darts-shared-cifar10'
    """
    return f"{spec.method}-{spec.landscape}-{spec.dataset}-{spec.digest[:10]}"
