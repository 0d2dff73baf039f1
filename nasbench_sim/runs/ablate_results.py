"""What an ablation left: accuracy, skip connections and failures of every (cell, seed), and one tidy file of them."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import RunError
from nasbench_sim.files import atomic_path
from nasbench_sim.runs.ablate_axes import MEASURED, METHOD, PLACE, Axis
from nasbench_sim.runs.grid import Cell, GridSpec, describe
from nasbench_sim.runs.record import Run

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Outcomes:
    """Where the searches of one cell ended, by seed.

    accuracy: role -> float32 `[S]`, percent, NaN where the search failed. skip_ratio: float32 `[S]`, fraction of edges,
    NaN where it failed. failed: bool `[S]`.
    """

    seeds: npt.NDArray[np.int64]
    accuracy: Mapping[str, Array]
    skip_ratio: Array
    failed: npt.NDArray[np.bool_]
    table: Mapping[str, Any]


def outcomes(cell: Cell, run: Run) -> Outcomes:
    """Outcomes of the record of a cell.

    Raises `RunError` where its seeds are not those of the cell (pairs of cells are pairs of seeds), and where a search
    ended on an architecture whose accuracy the table does not hold: nothing is filled in.
    """
    if tuple(run.seeds.tolist()) != cell.spec.seeds:
        raise RunError(f"cell {describe(cell)} holds other seeds than were asked for; remove its folder {cell.folder}")
    failed = run.failed
    accuracy = {role: np.asarray(run.final(role), dtype=np.float32) for role in run.table["report_keys"]}
    for role, values in accuracy.items():
        absent = np.isnan(values) & ~failed
        if absent.any():
            raise RunError(
                f"cell {describe(cell)}: seed {run.seeds[absent][0]} ended on an architecture without {role} accuracy "
                f"in table {run.table['name']}; give a complete table"
            )
    skip_ratio = np.where(failed, np.nan, run.history["skip_ratio"][:, -1]).astype(np.float32)
    return Outcomes(run.seeds, accuracy, skip_ratio, failed, run.table)


@dataclass(frozen=True)
class Ablation:
    """A finished grid of `C` cells of the same `S` seeds.

    Attributes
    ----------
    grid, axes, cells: what was asked.
    role: the accuracy that is judged.
    seeds: int64 `[S]`, the same in every cell.
    accuracy: role -> float32 `[C, S]` in percent, NaN where a search failed.
    skip_ratio: float32 `[C, S]`, fraction of edges. failed: bool `[C, S]`.
    table: what the first cell's record says of it: name, sha256, remark. best: data set -> role -> accuracy in percent
        of the table's best cell.
    folder: where it stands. computed, found: cells computed now and found finished. seconds: wall-clock.
    """

    grid: GridSpec
    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]
    role: str
    seeds: npt.NDArray[np.int64]
    accuracy: Mapping[str, Array]
    skip_ratio: Array
    failed: npt.NDArray[np.bool_]
    table: Mapping[str, Any]
    best: Mapping[str, Mapping[str, float]]
    folder: Path
    computed: int
    found: int
    seconds: float

    @classmethod
    def gather(
        cls,
        grid: GridSpec,
        axes: tuple[Axis, ...],
        cells: Sequence[Cell],
        role: str,
        parts: Sequence[Outcomes],
        folder: Path,
        *,
        computed: int = 0,
        seconds: float = 0.0,
    ) -> Ablation:
        """Put the outcomes of all cells together; raises `RunError` where cells have different seeds."""
        seeds = parts[0].seeds
        for cell, part in zip(cells, parts, strict=True):
            if not np.array_equal(part.seeds, seeds):
                raise RunError(f"cell {describe(cell)} has other seeds than the first; only equal seeds make pairs")
        roles = [r for r in parts[0].accuracy if all(r in part.accuracy for part in parts)]
        return cls(
            grid=grid,
            axes=axes,
            cells=tuple(cells),
            role=role,
            seeds=seeds,
            accuracy={r: np.stack([part.accuracy[r] for part in parts]) for r in roles},
            skip_ratio=np.stack([part.skip_ratio for part in parts]),
            failed=np.stack([part.failed for part in parts]),
            table=parts[0].table,
            best={cell.spec.dataset: _best(part.table) for cell, part in zip(cells, parts, strict=True)},
            folder=folder,
            computed=computed,
            found=len(parts) - computed,
            seconds=seconds,
        )

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the tidy file, one row a (cell, seed, role)."""
        axes = [axis.name for axis in self.axes if axis.name != METHOD]
        return [*PLACE, METHOD, *axes, *MEASURED]

    def summary(self) -> list[dict[str, Any]]:
        """One record a cell: its number, folder, values, n, failures, and mean and sd (n-1) in percent by role."""
        out = []
        for cell in self.cells:
            good = ~self.failed[cell.number]
            record: dict[str, Any] = {
                "cell": cell.number,
                "dataset": cell.spec.dataset,
                "landscape": cell.spec.landscape,
                "method": cell.spec.method,
                "values": cell.values,
                "folder": cell.folder,
                "n": len(good),
                "failed": int((~good).sum()),
            }
            for role, values in self.accuracy.items():
                ended = values[cell.number][good].astype(np.float64)
                mean = float(ended.mean()) if len(ended) else None
                sd = float(ended.std(ddof=1)) if len(ended) > 1 else None
                record[role] = {"mean": mean, "sd": sd}
            out.append(record)
        return out

    def write_csv(self, path: Path | str) -> Path:
        """Write the tidy table as CSV, atomically; an empty accuracy is a failed search. Returns the path."""
        path = Path(path)
        with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            seeds = self.seeds.astype(str).tolist()
            for cell in self.cells:
                front = [_text(value) for value in self._front(cell)]
                failed = np.where(self.failed[cell.number], "true", "false").tolist()
                skips = _decimals(self.skip_ratio[cell.number])
                for role, values in self.accuracy.items():
                    rows = zip(seeds, _decimals(values[cell.number]), skips, failed, strict=True)
                    writer.writerows([*front, s, role, a, k, f] for s, a, k, f in rows)
        return path

    def write_parquet(self, path: Path | str) -> Path | None:
        """The same as Parquet, where pyarrow is installed; None where it is not. Failed searches are null."""
        if importlib.util.find_spec("pyarrow") is None:
            return None
        import pyarrow as pa
        import pyarrow.parquet as pq

        path, roles, (c, s) = Path(path), list(self.accuracy), self.failed.shape
        rows = np.repeat(np.arange(c), len(roles) * s)  # the cell of every row: roles, then seeds, as in the CSV
        arrays = {}
        for name, column in zip(self.columns, zip(*map(self._front, self.cells), strict=True), strict=False):
            arrays[name] = pa.array(_of_one_type(column)).take(pa.array(rows))
        accuracy = np.stack([self.accuracy[r] for r in roles], axis=1).reshape(-1)
        arrays |= {
            "seed": pa.array(np.tile(self.seeds, c * len(roles))),
            "role": pa.array(np.tile(np.repeat(roles, s), c)).dictionary_encode(),
            "accuracy_percent": pa.array(accuracy, from_pandas=True),  # NaN becomes null
            "skip_ratio": pa.array(_by_role(self.skip_ratio, roles), from_pandas=True),
            "failed": pa.array(_by_role(self.failed, roles)),
        }
        with atomic_path(path) as part:
            pq.write_table(pa.table(arrays), part)
        return path

    def _front(self, cell: Cell) -> list[Any]:
        values = [cell.values[axis.name] for axis in self.axes if axis.name != METHOD]
        return [cell.number, cell.spec.dataset, cell.spec.landscape, cell.spec.method, *values]


def _best(table: Mapping[str, Any]) -> dict[str, float]:
    return {role: float(found["accuracy"]) for role, found in table.get("best", {}).items()}


def _text(value: Any) -> str:
    """Text and numbers as they are, all else (null, true, lists) as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _of_one_type(column: Sequence[Any]) -> list[Any]:
    """Numbers (null among them) or truth values as such; a column of anything else as text."""
    kinds = {type(value) for value in column if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in column]
    return list(column) if len(kinds) == 1 and kinds <= {int, float, bool} else [_text(value) for value in column]


def _decimals(values: Array) -> list[str]:
    """The shortest decimals that are the stored float32, nothing for NaN."""
    return [str(text) for text in np.where(np.isnan(values), "", values.astype(str))]


def _by_role(values: Array, roles: Sequence[str]) -> Array:
    """`[C, S]` repeated for every role, `[C * R * S]`."""
    return np.repeat(values[:, None], len(roles), axis=1).reshape(-1)
