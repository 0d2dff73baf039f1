"""Recording a search on a true supernet as a trace (`nasbench_sim.runs.trace`), written as the search goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation.evaluate import mixture_score, one_shot_accuracy
from gpu_validation.search import SupernetSearch
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.landscapes.watched import Watched
from nasbench_sim.runs import Run
from nasbench_sim.runs.engine import Progress
from nasbench_sim.runs.problem import versions
from nasbench_sim.runs.trace import Trace, epoch_row
from nasbench_sim.spaces import NB201, Space

Array = npt.NDArray[Any]
Tick = Callable[[int, int, Progress], None]


class Tracer:
    """Notes every epoch of `search` in the file `path`, and the one-shot accuracy of `cells` every `every` epochs.

    `cells`: how many of `stratified(space)`; 0: none. A stopped recording goes on with `run(folder, resume=True)`, and
    then equals one that was never stopped, bit for bit but for the seconds. Raises `SpecError` for impossible numbers.
    """

    def __init__(self, search: SupernetSearch, path: Path, *, every: int = 5, cells: int = 500) -> None:
        space = search.landscape.space
        if every < 1 or not 0 <= cells <= space.size:
            raise SpecError(f"a trace looks every 1, 2, ... epochs at 0 to {space.size} cells, got {every} and {cells}")
        self.search, self.path, self.every = search, path, every
        self.index = stratified(space, cells) if cells else np.empty(0, dtype=np.int64)
        self.watched = Watched(search.landscape)
        search.batch.landscape = self.watched
        self._before, self._began = 0.0, time.perf_counter()
        n, d = len(search.batch.seeds), space.D
        self.trace = Trace(self.about(), search.batch.seeds, {}, np.empty((n, 0, d), dtype=np.int8), self.index)

    def about(self) -> dict[str, Any]:
        """What is recorded, as plain data."""
        spec, data = self.search.spec, self.search.dataset
        return {
            "method": spec.method,
            "params": dict(spec.params),
            "space": self.search.settings.space,
            "landscape": "supernet",
            "setting": self.search.settings.model_dump(),
            "dataset": data.name,
            "data_sha256": data.sha256,
            "train_images": data.size("train"),
            "epochs": spec.epochs,
            "steps_per_epoch": spec.steps_per_epoch,
            "specification": spec.digest,
            "every": self.every,
            "seconds": 0.0,
            "threads": torch.get_num_threads(),
            "versions": {**versions(), "torch": torch.__version__},
        }

    def run(self, folder: Path, *, resume: bool = False, on_tick: Tick | None = None) -> Run:
        """Search to the end; `folder` holds checkpoints meanwhile and the record of the run afterwards."""
        self._began = time.perf_counter()
        return self.search.run(
            folder, resume=resume, on_tick=on_tick, on_epoch=self.note, on_resume=self.take_up if resume else None
        )

    def take_up(self, epochs: int) -> None:
        """Go on after `epochs` epochs; raises `RunError` where the file holds fewer or another recording."""
        found = Trace.load(self.path)
        mine = {k: v for k, v in self.about().items() if k not in ("seconds", "versions", "threads")}
        for key, value in mine.items():
            if found.about.get(key) != value:
                raise RunError(f"{self.path} is a recording of another {key}; choose another folder")
        if found.epochs < epochs or not np.array_equal(found.cells, self.index):
            raise RunError(f"{self.path} does not fit the checkpoints beside it; record into another folder")
        self.trace = found.until(epochs)
        self._before = float(found.about["seconds"])

    def note(self, progress: Progress) -> None:
        """Add the epoch that `progress` ended, and write the file."""
        batch, land, done = self.search.batch, self.search.landscape, progress.epoch
        if done > self.search.spec.epochs:  # restarts of an ensemble
            return
        row, archs = epoch_row(batch, self.watched, progress)
        row["valid_loss"], row["valid_accuracy"] = mixture_score(land, progress.shared, row["theta"], "valid")
        looked = None
        if len(self.index) and (done % self.every == 0 or done == self.search.spec.epochs):
            cells = np.repeat(land.space.at(self.index)[None], len(batch.seeds), axis=0)
            looked = one_shot_accuracy(land, progress.shared, cells, "valid")
        trace = self.trace.extended(row, archs, looked, self.index)
        seconds = round(self._before + time.perf_counter() - self._began, 1)
        self.trace = Trace(
            {**trace.about, "seconds": seconds},
            trace.seeds,
            trace.epoch,
            trace.archs,
            trace.cells,
            trace.looked,
            trace.one_shot,
        )
        self.trace.save(self.path)


def stratified(space: Space, n: int) -> npt.NDArray[np.int64]:
    """`n` architectures of different classes, spread evenly over how many of each operation they have; ascending.

    NAS-Bench-201: the first cell of each of the 6,466 classes, ordered by the numbers of conv3x3, conv1x1, skip
    connections, poolings and nones, every (6,466 / n)-th; elsewhere evenly spaced indices.

    >>> from nasbench_sim.spaces import get_space
    >>> cells = stratified(get_space("nb201"), 500)
    >>> len(cells), len(set(cells.tolist()))
    (500, 500)
    """
    if not isinstance(space, NB201):
        return np.unique(np.linspace(0, space.size - 1, n).round().astype(np.int64))
    _, first = np.unique(space.classes, return_index=True)
    if n > len(first):
        raise SpecError(f"{space.name} has {len(first)} classes of equal cells, got {n}")
    archs = space.at(first)
    counts = [(archs == op).sum(axis=1) for op in (0, 4, 1, 2, 3)]  # the last key is the first to sort by
    order = np.lexsort([first, *counts])
    return np.sort(first[order[((np.arange(n) + 0.5) * len(first) / n).astype(np.int64)]])
