"""From runs to what is drawn: one label a run, one panel a landscape, one set of quantile bands a history."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError, RunError
from nasbench_sim.runs.record import Run
from nasbench_sim.spaces import NB201
from nasbench_sim.tables.table import Table

FloatArray = npt.NDArray[np.float64]
MAX_POINTS = 400  # epochs drawn a line: more than a figure has pixels for, and it bounds the size of the SVG
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class Panel(NamedTuple):
    """What a figure gives one column of axes to: runs of one panel may be compared with each other."""

    table: str
    dataset: str
    landscape: str

    @property
    def title(self) -> str:
        """Heading of the panel, one line."""
        return clean(f"{self.dataset}, {self.landscape} landscape ({self.table})")


class Bands(NamedTuple):
    """Over seeds, by epoch, each `[E]`: median, 25-75 %, 5-95 %, mean; NaN where no seed has a value."""

    median: FloatArray
    low: FloatArray
    high: FloatArray
    lowest: FloatArray
    highest: FloatArray
    mean: FloatArray


def clean(text: object) -> str:
    """One printable line: control characters and runs of blanks become one blank."""
    return _UNPRINTABLE.sub(" ", str(text)).strip()


def short(text: str, width: int = 30) -> str:
    """`text`, or its beginning and end around an ellipsis: variants of a method differ at the end.

    >>> short("balenas (denominator=plain, samples=3)", 21)
    'balenas (de…samples=3)'
    """
    if len(text) <= width + 1:
        return text
    half = width // 2
    return f"{text[: width - half]}…{text[-half:]}"


def settings(run: Run) -> dict[str, Any]:
    """Every parameter of the run's method: the declared defaults, overlaid by what the specification sets."""
    out: dict[str, Any] = {}
    for name, value in dict(run.method.get("parameters") or {}).items():
        out[str(name)] = value["default"] if isinstance(value, Mapping) and "default" in value else value
    return {**out, **run.spec.params}


def panel_of(run: Run) -> Panel:
    """The panel a run belongs to."""
    return Panel(str(run.table["name"]), run.spec.dataset, run.spec.landscape)


def check_table(run: Run, table: Table) -> None:
    """Raise `RunError` where the run was made on another table."""
    made = str(run.table["sha256"])
    if made != table.sha256:
        raise RunError(
            f"the run of {run.spec.method} was made on {run.table['name']} with sha256 {made[:12]}..., and the "
            f"table {table.name} here has {table.sha256[:12]}...; open that table (--table FILE)"
        )


def panels(runs: Sequence[Run]) -> dict[Panel, list[int]]:
    """Positions of the runs by panel, in the order of first appearance; raises `RunError` where there is no run."""
    if not runs:
        raise RunError("there is no run to report; give at least one folder of a finished run")
    out: dict[Panel, list[int]] = {}
    for i, run in enumerate(runs):
        out.setdefault(panel_of(run), []).append(i)
    return out


def _described(run: Run) -> dict[str, Any]:
    spec = run.spec
    landscape = {f"landscape {k}": v for k, v in spec.landscape_params.items()}
    rest = {"epochs": spec.epochs, "steps": spec.steps_per_epoch, "dtype": spec.dtype, "seeds": len(run.seeds)}
    return {**settings(run), **landscape, **rest}


def labels(runs: Sequence[Run]) -> list[str]:
    """One name a run: the method, plus the settings in which runs of that method differ within a panel.

    Runs that nothing tells apart get a running number. Names are unique within a panel and the same in all panels.
    """
    differing: dict[str, set[str]] = {}
    for members in panels(runs).values():
        by_method: dict[str, list[dict[str, Any]]] = {}
        for i in members:
            by_method.setdefault(runs[i].spec.method, []).append(_described(runs[i]))
        for method, described in by_method.items():
            keys = dict.fromkeys(k for d in described for k in d)
            differ = {k for k in keys if len({repr(d.get(k)) for d in described}) > 1}
            differing.setdefault(method, set()).update(differ)
    out, seen = [], Counter[tuple[Panel, str]]()
    for run in runs:
        have = _described(run)
        parts = [f"{k}={have[k]}" for k in have if k in differing[run.spec.method]]
        name = clean(run.spec.method + (f" ({', '.join(parts)})" if parts else ""))
        seen[panel_of(run), name] += 1
        number = seen[panel_of(run), name]
        out.append(f"{name} #{number}" if number > 1 else name)
    return out


def roles(runs: Sequence[Run]) -> list[str]:
    """Accuracy roles that at least one run reports, `valid` and `test` first."""
    found = dict.fromkeys(role for run in runs for role in run.table["report_keys"])
    return sorted(found, key=lambda role: {"valid": 0, "test": 1}.get(role, 2))


def history(run: Run, name: str) -> FloatArray | None:
    """A per-epoch quantity `[S, E]` as float64, or None where the method does not have it (absent or all NaN)."""
    values = run.history.get(name)
    if values is None:
        return None
    out = np.asarray(values, dtype=np.float64)
    return None if out.size == 0 or np.isnan(out).all() else out


def bands(values: npt.ArrayLike) -> Bands:
    """Quantiles and mean over the first axis of `[S, E]`, NaN left out; NaN where an epoch has none.

    >>> bands([[1.0], [2.0], [9.0]]).median
    array([2.])
    """
    v = np.asarray(values, dtype=np.float64)
    out = np.full((6, v.shape[1]), np.nan)
    holes = np.isnan(v)
    some = ~holes.all(axis=0)
    quantile = np.nanpercentile if holes.any() else np.percentile  # the former is slower and warns on empty columns
    if some.any():
        out[:5, some] = quantile(v[:, some], (50, 25, 75, 5, 95), axis=0)
        out[5, some] = np.nanmean(v[:, some], axis=0)
    return Bands(*out)


def drawn_epochs(epochs: int) -> npt.NDArray[np.int64]:
    """Positions of the epochs to draw: all of them up to `MAX_POINTS`, then evenly spread, first and last included."""
    return np.unique(np.linspace(0, epochs - 1, min(epochs, MAX_POINTS)).round().astype(np.int64))


def prunes(run: Run) -> bool:
    """Whether operations were ever taken out: `active_ops` falls, or every decision has one operation left."""
    active = history(run, "active_ops")
    if active is None:
        return False
    return bool(np.nanmin(active) < np.nanmax(active) or np.nanmin(active) <= run.archs.shape[1])


def is_nb201(run: Run) -> bool:
    """Whether the run's cells are NAS-Bench-201 cells, told by the table's best cell (names of tables are free)."""
    best: Mapping[str, Any] = next(iter(run.table.get("best", {}).values()), {})
    try:
        NB201().parse(str(best.get("arch", "")))
    except ArchError:
        return False
    return True


def orientation_only(run: Run, role: str) -> bool:
    """Whether published numbers stand beside this accuracy for orientation only.

    They do where the table's accuracy is another training of the cells than the one the papers report.
    """
    return role not in ("valid", "test") or run.table["name"] == "nb201-analog"


def published_role(role: str) -> str:
    """The published role that an accuracy role of ours stands beside: itself, or `test` for other accuracies."""
    return role if role in ("valid", "test") else "test"
