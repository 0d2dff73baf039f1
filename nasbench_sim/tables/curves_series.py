"""One series of learning curves: a metric on a split of the runs on a data set, of one training seed or their mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.spaces import Space
from nasbench_sim.tables.columns import FloatArray
from nasbench_sim.tables.curves_file import Plane, PlaneFile

CurveSeed = int | Literal["mean"]
Float64Array = npt.NDArray[np.float64]


class CurveKey(NamedTuple):
    """What a curve was measured on, and at which of its epochs: `every` one, or the `last` alone."""

    dataset: str
    split: str
    epochs: int
    seed: int
    metric: str
    at: Literal["every", "last"]

    def plane(self, kind: Literal["curve", "final"]) -> Plane:
        """Name of its array in the file."""
        return Plane(self.dataset, self.epochs, self.seed, self.split, self.metric, kind)

    @property
    def run(self) -> Plane:
        """Name of the array that every run has, and that is NaN where there was no run."""
        return Plane(self.dataset, self.epochs, self.seed, "train", "accuracy", "final")


class Series:
    """Curves of every architecture under one key; made by `Curves.series`.

    With seed `"mean"`, numbers are means (in float64, rounded to float32 once) over the runs that an architecture has,
    and NaN where one of its runs lacks the number.

    Attributes
    ----------
    keys: the runs behind it, one a seed, ascending; a single one unless the seed is `"mean"`.
    seed, epochs, at: as asked; `at` is `"every"` epoch or the `"last"` alone.
    """

    def __init__(self, name: str, file: PlaneFile, space: Space, keys: Sequence[CurveKey], seed: CurveSeed) -> None:
        self.keys = tuple(sorted(keys, key=lambda k: k.seed))
        self.seed = seed
        self.epochs = self.keys[0].epochs
        self.at = "every" if all(k.at == "every" for k in self.keys) else "last"
        self._name = name
        self._file = file
        self._space = space

    def __str__(self) -> str:
        k = self.keys[0]
        return f"{self._name}: {k.dataset}/{k.split}/{k.epochs} epochs/seed {self.seed} {k.metric}"

    def values(self, *, epoch: int, missing: Literal["error", "nan"] = "error") -> FloatArray:
        """One number of every architecture, float32 `[A]`: after `epoch` of the run's epochs, counted from 1.

        Raises `NotMeasured` where only the last epoch was measured, and where some architectures lack the number unless
        `missing="nan"` asks for NaN there; `SpecError` for an epoch that the runs do not have.
        """
        kind = self._kind(epoch)
        columns = [p if kind == "final" else p[:, epoch - 1] for p in self._planes(kind)]
        out = columns[0] if self.seed != "mean" else self._mean(columns)
        holes = int(np.isnan(out).sum())
        if holes and missing == "error":
            raise NotMeasured(
                f"{self} was measured for {len(out) - holes} of {len(out)} architectures; "
                "pass missing='nan' to get NaN for the others"
            )
        return out

    def curves(self) -> FloatArray:
        """All curves, float32 `[A, epochs]`, NaN where there was no such run: a view of the file, or 12.5 MB of means.

        Raises `NotMeasured` where only the last epoch was measured.
        """
        planes = self._planes(self._kind(None))
        return planes[0] if self.seed != "mean" else self._mean(planes)

    def stack(self) -> FloatArray:
        """The curves of every run in `keys`, copied into memory, float32 `[S, A, epochs]`: 37.5 MB for three of 200."""
        return np.stack(self._planes(self._kind(None)))

    def curve(self, arch: str | int | npt.ArrayLike) -> FloatArray:
        """The curve of one architecture, float32 `[epochs]`; raises `NotMeasured` or `ArchError`."""
        kind, cell = self._kind(None), self._resolve(arch)
        ran = self._ran(cell)
        rows = [self._array(k.plane(kind))[cell] for k in ran]
        out = rows[0] if len(rows) == 1 else _mean_rows(rows) if rows else np.array([np.nan], dtype=np.float32)
        if np.isnan(out).any():
            raise NotMeasured(f"{self} was not measured for {arch!r}")
        return out

    def query(self, arch: str | int | npt.ArrayLike, *, epoch: int) -> float:
        """One number of one architecture: the shortest decimal that is its float32 (28.172, not 28.172000885).

        Raises as `values` does, and `ArchError`.
        """
        kind, cell = self._kind(epoch), self._resolve(arch)
        at = (cell,) if kind == "final" else (cell, epoch - 1)
        numbers = [self._array(k.plane(kind)).item(*at) for k in self._ran(cell)]
        mean = np.float32(sum(numbers) / len(numbers)) if numbers else np.float32(np.nan)
        if mean != mean:
            raise NotMeasured(f"{self} was not measured for {arch!r}")
        return float(str(mean))

    def _kind(self, epoch: int | None) -> Literal["curve", "final"]:
        """Which arrays hold `epoch` (None: all of them)."""
        if epoch is not None:
            whole = isinstance(epoch, (int, np.integer)) and not isinstance(epoch, bool)
            if not whole or not 1 <= epoch <= self.epochs:
                raise SpecError(f"{self}: epoch {epoch!r} is not a whole number in 1..{self.epochs}")
            if epoch == self.epochs:
                return "final"
        if self.at == "last":
            raise NotMeasured(f"{self} was measured after epoch {self.epochs} only{self._others()}")
        return "curve"

    def _others(self) -> str:
        """The splits of the same runs that were measured after every epoch."""
        key = self.keys[0]
        same = [p for p in self._file.planes if p._replace(split=key.split) == key.plane("curve")]
        return f"; after every epoch: {', '.join(sorted(p.split for p in same))}" if same else ""

    def _array(self, plane: Plane) -> FloatArray:
        return self._file.array(plane)  # type: ignore[return-value]  # only facts are float64

    def _planes(self, kind: Literal["curve", "final"]) -> list[FloatArray]:
        return [self._array(key.plane(kind)) for key in self.keys]

    def _ran(self, cell: int) -> list[CurveKey]:
        if self.seed != "mean":
            return [self.keys[0]]
        return [k for k in self.keys if self._array(k.run).item(cell) >= 0]

    def _mean(self, arrays: Sequence[FloatArray]) -> FloatArray:
        return mean_of_runs(arrays, [self._array(k.run) for k in self.keys]).astype(np.float32)

    def _resolve(self, arch: str | int | npt.ArrayLike) -> int:
        if type(arch) is int and 0 <= arch < self._space.size:
            return arch
        known = index_of(self._space).get(arch) if isinstance(arch, str) else None
        return self._space.resolve(arch) if known is None else known


@cache
def index_of(space: Space) -> dict[str, int]:
    """Official index by architecture string, so that asking by string costs no parsing."""
    return {s: i for i, s in enumerate(getattr(space, "strings", ()))}


def mean_of_runs(arrays: Sequence[npt.NDArray[np.floating]], runs: Sequence[FloatArray]) -> Float64Array:
    """Mean over the runs that exist, float64 `[A, ...]`: run r exists where `runs[r]` `[A]` is not NaN.

    NaN where there is no run, and where a run that exists has NaN.

    >>> a, b = np.array([1.0, 2.0, np.nan]), np.array([3.0, np.nan, np.nan])
    >>> mean_of_runs([a, b], [a, b]).tolist()
    [2.0, 2.0, nan]
    """
    total = np.zeros(arrays[0].shape)
    count = np.zeros(len(total), dtype=np.int64)
    for array, run in zip(arrays, runs, strict=True):
        exists = ~np.isnan(run)
        np.add(total, array, out=total, where=exists if total.ndim == 1 else exists[:, None])
        count += exists
    with np.errstate(invalid="ignore"):  # 0 / 0 where there is no run
        return np.asarray(total / (count if total.ndim == 1 else count[:, None]))


def _mean_rows(rows: Sequence[FloatArray]) -> FloatArray:
    total = rows[0].astype(np.float64)
    for row in rows[1:]:
        total = total + row
    return np.asarray((total / len(rows)).astype(np.float32))
