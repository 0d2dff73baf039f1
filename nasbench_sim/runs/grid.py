"""What an ablation is: one strict specification, and the cells (runs) that it stands for.

name: balenas-precision           # of letters, digits, dot, dash and underscore
table: nb201                      # default: the best table present
datasets: [cifar10]
landscape: shared                 # or a list; default: the method's own
landscape_params: {}              # of the shared landscape; {fit: breadth}: the numbers of a fit, or of FIT.json
seeds: 100                        # a number, a range "0:100" or a list
epochs: 50
steps_per_epoch: 391
method: balenas                   # or an axis: {method: [darts, balenas]}
params: {samples: 3}              # fixed
mode: grid                        # or one-at-a-time: every axis alone, the others at their baseline
axes:
  init_precision: [1, 1e4, 1e6]   # a parameter of the method
  landscape.onset: [0.4, 0.55]    # a parameter of the shared landscape
  run.epochs: [25, 50]            # a field of the run
baseline: {init_precision: 1e4}   # default: the declared default where it is a value, else the first value
metric: test                      # the accuracy that is judged

Also dtype, budget (simulated seconds), penalty and step_order as in `RunSpec`, and slurm: {slurm_partition: cpu}, the
options of submitit that `--executor slurm` starts from (other executors do not look at them).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nasbench_sim.errors import SpecError, UserError, unknown
from nasbench_sim.runs.ablate_axes import (
    LANDSCAPE,
    METHOD,
    RUN,
    Axis,
    check_landscape,
    check_params,
    read_axes,
    run_fields,
)
from nasbench_sim.runs.ablate_yaml import read_yaml
from nasbench_sim.runs.problem import default_landscape
from nasbench_sim.runs.search import check_possible
from nasbench_sim.runs.spec import MAX_SEEDS, RunSpec, make_spec
from nasbench_sim.searchers.gradient import StepOrder
from nasbench_sim.tables.table import Table

MOST_CELLS = 10_000
#: fields of the run that a grid holds under the same name
_PASSED = ("epochs", "steps_per_epoch", "dtype", "budget", "penalty", "step_order")


class GridSpec(BaseModel):
    """The specification of an ablation; keys as in the head of this module, and none else."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    table: str = ""
    datasets: list[str] = Field(default_factory=lambda: ["cifar10"], min_length=1)
    landscape: list[str] = Field(default_factory=list)
    landscape_params: dict[str, Any] = Field(default_factory=dict)
    seeds: int | str | list[int] = 100
    epochs: int = 50
    steps_per_epoch: int = 391
    dtype: Literal["float32", "float64"] = "float32"
    budget: float | None = None
    penalty: dict[str, float] = Field(default_factory=dict)
    step_order: StepOrder = "together"
    method: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    mode: Literal["grid", "one-at-a-time"] = "grid"
    axes: dict[str, list[Any]] = Field(min_length=1)
    baseline: dict[str, Any] = Field(default_factory=dict)
    metric: str = ""
    slurm: dict[str, Any] = Field(default_factory=dict)

    @field_validator("landscape", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds; raises `SpecError` for a text that is no number or range."""
        if isinstance(self.seeds, list):
            return tuple(self.seeds)
        if isinstance(self.seeds, int):
            start, stop = 0, self.seeds
        else:
            found = re.fullmatch(r"\s*(?:(\d{1,18}):)?(\d{1,18})\s*", self.seeds)
            if not found:
                raise SpecError(f"seeds: {self.seeds!r} is neither a number (100), a range (0:100) nor a list ([1, 2])")
            start, stop = int(found[1] or 0), int(found[2])
        if not 1 <= stop - start <= MAX_SEEDS:
            raise SpecError(f"seeds: {self.seeds} asks for {stop - start} seeds; 1 to {MAX_SEEDS} can be run")
        return tuple(range(start, stop))

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method of the grid; raises `SpecError` where none or both of `method` and the axis are given."""
        listed = self.axes.get(METHOD)
        if (listed is None) == (self.method is None):
            raise SpecError("give method: NAME for one method, or an axis method: [NAME, ...] for several, not both")
        names = [self.method] if listed is None else listed
        if not all(isinstance(name, str) for name in names):
            raise SpecError(f"axis method holds names of methods, got {names}")
        return tuple(str(name) for name in names)


class Panel(NamedTuple):
    """What cells must share to be compared: data set and landscape; "" where that is an axis or the method's own."""

    dataset: str
    landscape: str

    @property
    def title(self) -> str:
        """`cifar10, shared landscape`, without what is an axis."""
        return ", ".join(filter(None, (self.dataset, self.landscape and f"{self.landscape} landscape")))


class Cell(NamedTuple):
    """One run of an ablation: its number, panel, position on every axis, the values there, and its specification."""

    number: int
    panel: Panel
    levels: tuple[int, ...]
    values: dict[str, Any]
    spec: RunSpec

    @property
    def folder(self) -> str:
        """Name of its folder: the method and a digest of the whole specification, seeds included."""
        text = f"{self.spec.digest} {json.dumps(self.spec.seeds)}"
        return f"{self.spec.method}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def make_grid(**fields: Any) -> GridSpec:
    """`GridSpec(**fields)` with every problem told in one line as a `SpecError`, a typo with the nearest known key.

    >>> make_grid(name="x", method="darts", axes={"lr": [1e-4, 3e-4]}).mode
    'grid'
    """
    try:
        return GridSpec(**fields)
    except ValidationError as error:
        problems = []
        for e in error.errors():
            where = " ".join(".".join(str(p) for p in e["loc"]).split())  # a key of YAML may hold line ends
            if e["type"] == "extra_forbidden":
                problems.append(unknown("key", where, GridSpec.model_fields))
            elif e["type"] == "missing":
                problems.append(f"key {where} is missing")
            else:
                problems.append(f"{where}: {e['msg'].removeprefix('Value error, ')}, got {str(e['input'])[:60]!r}")
        raise SpecError("; ".join(problems)) from error


def load_grid(path: Path | str) -> tuple[GridSpec, str]:
    """The specification in a YAML file, and the file's text; raises `SpecError`, one line that names the file."""
    data, text = read_yaml(path)
    try:
        return make_grid(**data), text
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def grid_axes(grid: GridSpec) -> tuple[Axis, ...]:
    """The axes with typed values and baselines; raises `SpecError` for what `ablate_axes.read_axes` refuses.

    >>> [a.baseline for a in grid_axes(make_grid(name="x", method="darts", axes={"lr": [1e-4, 3e-4]}))]
    [1]
    """
    given = grid.model_fields_set
    for name in grid.axes:
        inner = name.removeprefix(RUN).removeprefix(LANDSCAPE)
        key = "datasets" if name == "run.dataset" else inner
        if name.startswith(RUN) and inner in run_fields() and key in given:
            raise SpecError(f"{key} is given and {name} is an axis too; leave one of them away")
        if name in grid.params or (name.startswith(LANDSCAPE) and inner in grid.landscape_params):
            raise SpecError(f"{inner} has a fixed value and is an axis too; leave one of them away")
    return read_axes(grid.axes, grid.baseline, grid.methods)


def cells(grid: GridSpec, table: Table) -> list[Cell]:
    """Every cell in a fixed order: data sets, landscapes, then the axes as given, the last one fastest.

    Each specification is made and tried on the table with one seed, so that an impossible cell is refused before
    anything runs. Raises `SpecError` naming the cell; also for more than 10,000 cells and for two equal ones.

    >>> from nasbench_sim.tables.catalogue import open_table
    >>> grid = make_grid(name="x", method="darts", seeds=2, axes={"lr": [1e-4, 3e-4], "run.epochs": [1, 2]})
    >>> [(c.values["lr"], c.spec.epochs) for c in cells(grid, open_table("nb201-analog"))]
    [(0.0001, 1), (0.0001, 2), (0.0003, 1), (0.0003, 2)]
    """
    axes = grid_axes(grid)
    fixed = check_params(grid.params, grid.methods)
    about = check_landscape(grid.landscape_params)
    panels = _panels(grid, axes)
    n = len(panels) * _size(grid, axes)
    if n > MOST_CELLS:
        raise SpecError(f"{n:,} cells; at most {MOST_CELLS:,} a grid: fewer values, or mode: one-at-a-time")
    seeds = grid.seed_list
    seen: dict[str, int] = {}
    out: list[Cell] = []
    for panel, levels in itertools.product(panels, _levels(grid, axes)):
        values = {axis.name: axis.values[level] for axis, level in zip(axes, levels, strict=True)}
        spec = _run_spec(grid, panel, values, fixed, about, table.name, seeds)
        cell = Cell(len(out), panel, levels, values, spec)
        try:
            check_possible(spec, table)
        except UserError as error:  # also what the table does not hold
            raise SpecError(f"cell {describe(cell)}: {error}") from error
        if cell.folder in seen:
            raise SpecError(f"cells {seen[cell.folder]} and {cell.number} are the same run ({describe(cell)})")
        seen[cell.folder] = cell.number
        out.append(cell)
    return out


def describe(cell: Cell) -> str:
    """A cell in words: `init_precision=1, denominator=sqrt`."""
    text = ", ".join(f"{name}={json.dumps(value)}".replace('"', "") for name, value in cell.values.items())
    return f"{text} ({cell.panel.title})" if cell.panel.title else text


def judged_role(grid: GridSpec, table: Table) -> str:
    """The accuracy that is judged: `metric`, else `test` where the table has it, else its first.

    Raises `SpecError` where the table does not report it for a data set of the grid.
    """
    datasets = grid.axes.get("run.dataset", grid.datasets)
    for dataset in datasets:
        if dataset not in table.datasets():
            raise SpecError(f"table {table.name}: {unknown('data set', dataset, table.datasets())}")
    roles = [tuple(table.report_keys_for(str(d))) for d in datasets]
    shared = [r for r in roles[0] if all(r in other for other in roles)]
    if grid.metric and grid.metric not in shared:
        raise SpecError(f"metric: table {table.name}: {unknown('accuracy', grid.metric, shared)}")
    if not shared:
        raise SpecError(f"table {table.name} reports no accuracy for all of {', '.join(map(str, datasets))}")
    return grid.metric or ("test" if "test" in shared else shared[0])


def _size(grid: GridSpec, axes: tuple[Axis, ...]) -> int:
    counts = [len(axis.values) for axis in axes]
    if grid.mode == "one-at-a-time":
        return 1 + sum(count - 1 for count in counts)
    return math.prod(counts)  # Python's own integers: no overflow


def _levels(grid: GridSpec, axes: tuple[Axis, ...]) -> Iterator[tuple[int, ...]]:
    if grid.mode == "grid":
        yield from itertools.product(*(range(len(axis.values)) for axis in axes))
        return
    centre = tuple(axis.baseline for axis in axes)
    yield centre
    for i, axis in enumerate(axes):
        for level in range(len(axis.values)):
            if level != axis.baseline:
                yield (*centre[:i], level, *centre[i + 1 :])


def _panels(grid: GridSpec, axes: tuple[Axis, ...]) -> list[Panel]:
    names = {axis.name for axis in axes}
    own = sorted({default_landscape(method) for method in grid.methods})
    listed = grid.landscape or (own if len(own) == 1 else [""])
    datasets = [""] if "run.dataset" in names else grid.datasets
    landscapes = [""] if "run.landscape" in names else listed
    out = [Panel(dataset, landscape) for dataset in datasets for landscape in landscapes]
    if len(set(out)) < len(out):
        raise SpecError("datasets or landscape holds a name twice, so cells would appear twice; give each once")
    return out


def _run_spec(
    grid: GridSpec,
    panel: Panel,
    values: Mapping[str, Any],
    fixed: Mapping[str, Any],
    about: Mapping[str, Any],
    table: str,
    seeds: tuple[int, ...],
) -> RunSpec:
    method = str(values.get(METHOD, grid.method))
    fields = {name: getattr(grid, name) for name in _PASSED if name in grid.model_fields_set}
    fields |= {"dataset": panel.dataset, "landscape": panel.landscape or default_landscape(method)}
    params, landscape = dict(fixed), dict(about)
    for name, value in values.items():
        if name.startswith(RUN):
            fields[name.removeprefix(RUN)] = value
        elif name.startswith(LANDSCAPE):
            landscape[name.removeprefix(LANDSCAPE)] = value
        elif name != METHOD:
            params[name] = value
    return make_spec(method=method, params=params, table=table, landscape_params=landscape, seeds=seeds, **fields)
