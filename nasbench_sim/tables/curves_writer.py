"""Writing a curve file run by run, in any order, in little memory.

Curves go to unnamed temporary files beside the target (their rows are written in place; a killed import leaves nothing
behind), the values after the last epoch and the facts stay in memory. `finish` copies all of it into one file, hashing
on the way, which replaces the target atomically.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

import numpy as np

from nasbench_sim.errors import RunError, TableError
from nasbench_sim.tables.curves_file import (
    MAX_EPOCHS,
    MAX_PLANES,
    Array,
    Manifest,
    Plane,
    PlaneEntry,
    file_order,
    header_bytes,
)
from nasbench_sim.tables.manifest import cached_space
from nasbench_sim.tables.table import Source

_MAX_FILES = 200  # one a curve; systems allow at least 256 open files
_PIECE = 1 << 20
Measured = Mapping[tuple[str, str], "np.typing.NDArray[np.float64]"]


class Run(NamedTuple):
    """One training run of one architecture.

    Attributes
    ----------
    dataset, epochs, seed: the run.
    curves: (split, metric) -> float64 `[epochs]`, or `[1]` where only the last epoch was measured; metrics `accuracy`,
        `loss`, and `seconds` where epochs took different times.
    facts: (split, `seconds`) -> seconds an epoch; (`network`, `params_m` | `flops_m` | `latency_s`) -> number.
    """

    dataset: str
    epochs: int
    seed: int
    curves: Measured
    facts: Mapping[tuple[str, str], float]


class CurveWriter:
    """Collects runs and writes them as one curve file; use it in a `with` block.

    >>> import numpy as np, tempfile
    >>> from nasbench_sim.tables.curves import Curves
    >>> run = Run("cifar10", 2, 777, {("train", "accuracy"): np.array([30.0, 40.0])}, {})
    >>> path = Path(tempfile.mkdtemp()) / "tiny.safetensors"
    >>> with CurveWriter("nb201", path.parent) as writer:
    ...     writer.add(5, [run])
    ...     writer.finish(path, sources=(), notes=())
    >>> key = dict(dataset="cifar10", split="train", epochs=2, seed=777, metric="accuracy")
    >>> Curves(path).series(**key).query(5, epoch=1)
    30.0
    """

    def __init__(self, space: str, folder: Path) -> None:
        self.space = space
        self.size = cached_space(space).size
        self.cells = np.zeros(self.size, dtype=np.bool_)  # which architectures were added
        self._folder = folder
        self._files: dict[Plane, IO[bytes]] = {}
        self._arrays: dict[Plane, Array] = {}

    def __enter__(self) -> CurveWriter:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write in {self._folder}: {error.strerror}; choose another folder") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            file.close()

    def add(self, cell: int, runs: list[Run]) -> None:
        """Keep the runs of architecture `cell`; raises `TableError` where it was added before, or has no runs."""
        if self.cells[cell]:
            raise TableError(f"architecture {cell} stands twice in the source; get the original file again")
        if not runs:
            raise TableError(f"architecture {cell} has no training runs; get the original file again")
        self.cells[cell] = True
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 is infinite
                for run in runs:
                    self._add(cell, run)
        except OSError as error:
            raise RunError(f"cannot write in {self._folder}: {error.strerror}; make room there") from error

    def _add(self, cell: int, run: Run) -> None:
        if not 1 <= run.epochs <= MAX_EPOCHS:
            raise TableError(f"architecture {cell}: a run of {run.epochs} epochs is outside 1..{MAX_EPOCHS}")
        for (split, metric), values in run.curves.items():
            plane = Plane(run.dataset, run.epochs, run.seed, split, metric, "curve")
            if metric != "seconds":
                self._array(plane._replace(kind="final"))[cell] = values[-1]
            if len(values) == run.epochs:
                row = values.astype("<f4").tobytes()
                if os.pwrite(self._file(plane), row, cell * len(row)) != len(row):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for (split, metric), value in run.facts.items():
            self._array(Plane(run.dataset, run.epochs, run.seed, split, metric, "fact"))[cell] = value

    def _array(self, plane: Plane) -> Array:
        found = self._arrays.get(plane)
        if found is None:
            self._bounded(len(self._arrays) + len(self._files) < MAX_PLANES, plane)
            found = self._arrays[plane] = np.full(plane.shape(self.size), np.nan, dtype=plane.dtype)
        return found

    def _file(self, plane: Plane) -> int:
        file = self._files.get(plane)
        if file is None:
            self._bounded(len(self._files) < _MAX_FILES, plane)
            file = self._files[plane] = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            piece = np.full(_PIECE // 4, np.nan, dtype="<f4").tobytes()
            left = plane.nbytes(self.size)
            while left:
                left -= file.write(piece[:left])
        return file.fileno()

    def _bounded(self, fits: bool, plane: Plane) -> None:
        if not fits:
            raise TableError(f"{plane.tensor}: more kinds of runs than a benchmark has; the source is not one we know")

    def finish(self, path: Path, *, sources: tuple[Source, ...], notes: tuple[str, ...]) -> None:
        """Write everything to `path`, which should be a temporary one (`files.atomic_path`); OSErrors pass through."""
        order = file_order([*self._arrays, *self._files])
        entries = [PlaneEntry(**p._asdict(), sha256="0" * 64) for p in order]
        blank = Manifest(space=self.space, size=self.size, planes=entries, sources=list(sources), notes=list(notes))
        with path.open("wb") as out:
            out.write(header_bytes(blank))
            hashed = [entry.model_copy(update={"sha256": self._copy(entry.plane, out)}) for entry in entries]
            out.seek(0)
            out.write(header_bytes(blank.model_copy(update={"planes": hashed})))

    def _copy(self, plane: Plane, out: IO[bytes]) -> str:
        """Append one array; returns its sha256."""
        if plane in self._arrays:
            data = self._arrays[plane].tobytes()
            out.write(data)
            return hashlib.sha256(data).hexdigest()
        digest, file = hashlib.sha256(), self._files[plane]
        for offset in range(0, plane.nbytes(self.size), _PIECE):
            piece = os.pread(file.fileno(), _PIECE, offset)
            digest.update(piece)
            out.write(piece)
        return digest.hexdigest()
