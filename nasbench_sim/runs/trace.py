"""The trace of a search: what its landscape showed it, epoch by epoch, in one compact HDF5 file.

The same for a true supernet (`gpu-validation record`) and for a simulated one (`trace_of`), so that the two are
compared number by number (`nasbench-sim fidelity`) and a model of weight sharing is fitted to the first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.landscapes.watched import Watched
from nasbench_sim.runs.engine import Batch, Progress
from nasbench_sim.runs.spec import make_spec
from nasbench_sim.sealed import read_numbers, read_sealed, write_sealed
from nasbench_sim.searchers.gradient import StepOrder
from nasbench_sim.spaces import Space
from nasbench_sim.tables.manifest import cached_space
from nasbench_sim.tables.table import Table

KIND = "nasbench-sim trace"
MAX_BYTES = 1 << 28
_MEND = "record it again"
Array = npt.NDArray[Any]

#: what a trace holds a seed and epoch: name -> whether it has the shape `[S, E, D, K]` (else `[S, E]`)
EPOCH = {
    "theta": True,  # architecture distribution after the epoch
    "usage": True,  # mean forward weights of the weight steps
    "usage_squared": True,  # mean of their squares (of PARSEC, which trains on single cells: their mean)
    "point": True,  # mean theta at which architecture gradients were taken
    "gradient": True,  # mean gradient of the search loss in theta, nats
    "gradient_sd": True,  # its sd over steps
    "loss": False,  # mean search loss of the architecture steps (nats, validation mini-batches)
    "train_loss": False,  # of the weight steps
    "train_accuracy": False,
    "valid_loss": False,  # of the mixture theta after the epoch, on evaluation images
    "valid_accuracy": False,
    "eigenvalue": False,
    "derived_valid": False,  # one-shot accuracy of the derived cell, percent
    "derived_test": False,
}


@dataclass(frozen=True)
class Trace:
    """`S` searches of one method in one setting.

    Attributes
    ----------
    about: what was recorded: `method`, `params`, `space`, `landscape`, `setting` (of the supernet), `dataset`,
        `data_sha256`, `epochs`, `steps_per_epoch`, `seconds` of computing, `versions`.
    seeds: int64 `[S]`.
    epoch: float32 by name, see `EPOCH`; NaN where a method has no such thing.
    archs: int8 `[S, E, D]`, the derived cell.
    cells: int64 `[M]`, architectures (index of the space) whose one-shot accuracy was looked at.
    looked: int64 `[L]`, after how many epochs.
    one_shot: float32 `[S, L, M]`, one-shot validation accuracy, percent.

    >>> import numpy as np
    >>> trace = Trace({"space": "nb201", "method": "darts"}, np.arange(1), {}, np.zeros((1, 2, 6), dtype=np.int8))
    >>> trace.space.D, trace.skip_ratio.tolist()
    (6, [[0.0, 0.0]])
    """

    about: Mapping[str, Any]
    seeds: npt.NDArray[np.int64]
    epoch: Mapping[str, Array]
    archs: npt.NDArray[np.int8]
    cells: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    looked: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    one_shot: Array = field(default_factory=lambda: np.empty((0, 0, 0), dtype=np.float32))

    @property
    def space(self) -> Space:
        """The search space."""
        return cached_space(str(self.about["space"]))

    @property
    def method(self) -> str:
        """Name in the registry."""
        return str(self.about["method"])

    @property
    def order(self) -> StepOrder:
        """In which the recorded search took its weight and its architecture step."""
        found: StepOrder = dict(self.about.get("setting", {})).get("order", "together")
        return found

    def simulated(self, table: Table, dataset: str, seeds: int) -> Batch:
        """The same search on the weight-sharing model over `table`: method, parameters, horizon, order of steps."""
        spec = make_spec(
            method=self.method,
            params=dict(self.about["params"]),
            table=table.name,
            dataset=dataset,
            seeds=seeds,
            epochs=int(self.about["epochs"]),
            steps_per_epoch=int(self.about["steps_per_epoch"]),
            step_order=self.order,
        )
        return Batch(spec, table, np.arange(seeds))

    @property
    def epochs(self) -> int:
        """Epochs recorded so far."""
        return int(self.archs.shape[1])

    @property
    def skip_ratio(self) -> Array:
        """Share of the derived cell's decisions that are skip connections, `[S, E]`."""
        space = self.space
        return np.asarray(space.skip[np.arange(space.D), np.maximum(self.archs, 0)].mean(axis=-1))

    def until(self, epochs: int) -> Trace:
        """The first epochs only."""
        kept = self.looked <= epochs
        return Trace(
            self.about,
            self.seeds,
            {name: values[:, :epochs] for name, values in self.epoch.items()},
            self.archs[:, :epochs],
            self.cells,
            self.looked[kept],
            self.one_shot[:, kept] if self.one_shot.size else self.one_shot,
        )

    def extended(self, row: Mapping[str, Array], archs: Array, looked: Array | None, cells: Array) -> Trace:
        """One epoch more: `row[name]` `[S]` or `[S, D, K]`, derived cells `[S, D]`, one-shot accuracies `[S, M]`."""
        n, shape = len(self.seeds), (self.space.D, self.space.K)
        epoch = {}
        for name, wide in EPOCH.items():
            new = np.asarray(row.get(name, np.full((n, *shape) if wide else n, np.nan)), dtype=np.float32)[:, None]
            epoch[name] = np.concatenate([self.epoch[name], new], axis=1) if name in self.epoch else new
        whole = np.concatenate([self.archs, archs[:, None].astype(np.int8)], axis=1)
        places, seen = self.looked, self.one_shot
        if looked is not None:
            places = np.append(places, whole.shape[1])
            new = looked[:, None].astype(np.float32)
            seen = np.concatenate([seen, new], axis=1) if seen.size else new
        return Trace(self.about, self.seeds, epoch, whole, np.asarray(cells, dtype=np.int64), places, seen)

    def save(self, path: Path | str) -> Path:
        """Write it atomically; returns the path."""
        path = Path(path)
        with write_sealed(path, KIND) as file:
            about = json.dumps(dict(self.about), sort_keys=True).encode()
            arrays: dict[str, Array] = {
                "about": np.frombuffer(about, dtype=np.uint8),
                "seeds": self.seeds,
                "archs": self.archs,
            }
            arrays |= {"cells": self.cells, "looked": self.looked, "one_shot": self.one_shot}
            arrays |= {f"epoch/{name}": values for name, values in self.epoch.items()}
            for name, values in sorted(arrays.items()):  # equal bytes for equal content
                packed = {"chunks": True, "fletcher32": True, "compression": "gzip", "shuffle": True}
                file.create_dataset(name, data=values, track_times=False, **(packed if values.size else {}))
        return path

    @classmethod
    def load(cls, path: Path | str) -> Trace:
        """Read a trace; raises `RunError`, one line, for a missing, damaged or foreign one."""
        where = str(path)
        with read_sealed(path, KIND, error=RunError, mend=_MEND, max_bytes=MAX_BYTES) as file:

            def numbers(name: str, kinds: str) -> Array:
                array = read_numbers(file, name, where=where, error=RunError)
                if array.dtype.kind not in kinds:
                    raise RunError(f"{where}: {name} holds other numbers than a trace does; {_MEND}")
                return array

            about = json.loads(numbers("about", "u").tobytes())
            seeds, archs = numbers("seeds", "i").astype(np.int64), numbers("archs", "i").astype(np.int8)
            cells, looked = numbers("cells", "i").astype(np.int64), numbers("looked", "i").astype(np.int64)
            one_shot = numbers("one_shot", "f").astype(np.float32)
            epoch = {
                name: read_numbers(file["epoch"], name, where=where, error=RunError).astype(np.float32)
                for name in file.get("epoch", ())
            }
        trace = cls(about, seeds, epoch, archs, cells, looked, one_shot)
        _check(trace, where)
        return trace


def _check(trace: Trace, where: str) -> None:
    """Raise `RunError` unless everything is of the same searches and epochs."""
    if not isinstance(trace.about, dict) or not isinstance(trace.about.get("method"), str):
        raise RunError(f"{where}: does not say what was recorded; {_MEND}")
    try:
        space = trace.space
    except (KeyError, SpecError) as error:
        raise RunError(f"{where}: is of a space that is not known here ({error}); {_MEND}") from error
    grid, looks = trace.archs.shape[:2], (len(trace.seeds), len(trace.looked), len(trace.cells))
    fits = trace.archs.ndim == 3 and trace.archs.shape == (len(trace.seeds), trace.epochs, space.D)
    fits &= set(trace.epoch) == set(EPOCH) or not (trace.epoch or trace.epochs)
    fits = fits and all(
        values.shape == ((*grid, space.D, space.K) if EPOCH[name] else grid) for name, values in trace.epoch.items()
    )
    fits &= trace.one_shot.shape == looks or (trace.one_shot.size == 0 and not len(trace.looked))
    fits &= bool((trace.archs < space.K).all())
    if not fits or (len(trace.cells) and not 0 <= trace.cells.min() <= trace.cells.max() < space.size):
        raise RunError(f"{where}: its arrays are not those of a trace of {space.name}; {_MEND}")


def epoch_row(batch: Batch, watched: Watched, progress: Progress) -> tuple[dict[str, Array], Array]:
    """What a trace says of the epoch that `progress` ended, and its derived cells `[S, D]`."""
    e, history = progress.epoch - 1, progress.history
    row = watched.drain(batch.seeds)
    row["theta"] = batch.searcher.distribution(progress.state)
    for name, column in (
        ("train_loss", "train_loss"),
        ("train_accuracy", "train_accuracy"),
        ("eigenvalue", "eigenvalue"),
        ("derived_valid", "valid"),
        ("derived_test", "test"),
    ):
        if column in history:
            row[name] = history[column][:, e]
    return row, history["archs"][:, e]


def trace_of(batch: Batch, about: Mapping[str, Any]) -> Trace:
    """Run `batch` to its end on a table's landscape and return its trace."""
    watched = Watched(batch.landscape)
    batch.landscape = watched
    d = batch.judge.space.D
    trace = Trace(about, batch.seeds, {}, np.empty((len(batch.seeds), 0, d), dtype=np.int8))
    progress = batch.start()
    for _ in range(batch.spec.epochs):
        progress = batch.advance(progress)
        row, archs = epoch_row(batch, watched, progress)
        trace = trace.extended(row, archs, None, trace.cells)
    batch.landscape = watched.inner
    return trace
