"""Recordings of a supernet: the one-shot accuracy of cells epoch by epoch, as a table, and predictions for ensembles.

The recording is an ordinary table file (`nb.open_table(FILE)`): data set, split, `epochs` = search epochs done, `seed`
= seed of the search; cells that were not looked at are holes. `RecordedLandscape` searches on it, reports read it,
and nothing in it is an accuracy of a network trained alone: its remark says so wherever it is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation import checkpoint
from gpu_validation.evaluate import one_shot_accuracy, recalibrated
from gpu_validation.search import SupernetSearch
from nasbench_sim.ensembles import Predictions
from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import LandscapeState
from nasbench_sim.runs.engine import Progress
from nasbench_sim.tables.store import write_table
from nasbench_sim.tables.table import Key, Source, Table

Array = npt.NDArray[Any]

NAME = "recording"
SPLITS = ("valid", "test")
REMARK = "one-shot accuracies of cells with the shared weights of a supernet, not of networks trained alone"


class Recorder:
    """Looks at `cells` after every `every`-th epoch of a search and after its last.

    `cells`: None for every architecture of the space, a number for so many uniform ones (the same for all searches of
    a space). `folder` keeps what was seen so far, so that a stopped recording goes on. Raises `SpecError` for
    impossible numbers.
    """

    def __init__(self, search: SupernetSearch, folder: Path, *, every: int = 1, cells: int | None = None) -> None:
        space = search.landscape.space
        if every < 1:
            raise SpecError(f"a recording looks every 1, 2, ... epochs, got {every}")
        if cells is not None and not 1 <= cells <= space.size:
            raise SpecError(f"{space.name} has 1 to {space.size} cells to record, got {cells}")
        self.search, self.folder, self.every = search, folder, every
        self.index = np.arange(space.size) if cells is None else sample(space.size, cells)
        self.facts = {**search.facts, "cells": len(self.index), "every": every}
        found = checkpoint.load(folder, NAME, self.facts)
        self.seen: dict[str, Array] = {} if found is None else dict(found.arrays)

    def __call__(self, done: int, total: int, progress: Progress) -> None:
        """What the search calls after every epoch."""
        due = done > 0 and (done % self.every == 0 or done == total)
        if not due or f"{done}/valid" in self.seen or done > self.search.spec.epochs:
            return
        for split in SPLITS:
            self.seen[f"{done}/{split}"] = self.look(progress.shared, split)
        checkpoint.save(self.folder, NAME, done, self.seen, self.facts)

    def look(self, shared: LandscapeState, split: str) -> npt.NDArray[np.float32]:
        """One-shot accuracy in percent `[S, M]` of the recorded cells."""
        land = self.search.landscape
        archs = np.repeat(land.space.at(self.index)[None], len(shared.seeds), axis=0)
        return one_shot_accuracy(land, shared, archs, split).astype(np.float32)

    def table(self, name: str) -> Table:
        """Everything recorded so far as a table; raises `SpecError` where nothing was."""
        if not self.seen:
            raise SpecError("nothing was recorded; a search of at least one epoch has to end first")
        space, data = self.search.landscape.space, self.search.dataset
        accuracy = {}
        for what, values in self.seen.items():
            epoch, split = what.split("/")
            for seed, row in zip(self.search.spec.seeds, values, strict=True):
                column = np.full(space.size, np.nan, dtype=np.float32)
                column[self.index] = row
                accuracy[Key(data.name, split, int(epoch), seed)] = column
        last = max(int(what.split("/")[0]) for what in self.seen)
        key = Key(data.name, "valid", last, self.search.spec.seeds[0])
        about = self.search.about()
        return Table(
            name=name,
            space=space,
            accuracy=accuracy,
            metrics={},
            search_key=key,
            report_keys={split: key._replace(split=split) for split in SPLITS},
            sources=(
                Source(
                    name=f"{about['name']} searched by {self.search.method} on {data.name}, "
                    f"{self.search.spec.epochs} epochs",
                    sha256=str(about["sha256"]),
                    gives="one-shot accuracies, made by gpu-validation record",
                ),
            ),
            remark=REMARK,
            extra={"specification": self.search.spec.model_dump(mode="json", exclude={"seeds"})},
        )

    def write(self, path: Path, name: str) -> str:
        """Write the table; returns its sha256."""
        return write_table(self.table(name), path)

    def finish(self) -> None:
        """Remove what was kept to go on from: when the table and the record of the search are written."""
        checkpoint.clear(self.folder, NAME)


def sample(size: int, n: int) -> npt.NDArray[np.int64]:
    """`n` of `size` architectures, ascending, always the same.

    >>> sample(10, 3).tolist() == sample(10, 3).tolist()
    True
    """
    random = np.random.Generator(np.random.Philox(key=0))
    return np.sort(random.choice(size, size=n, replace=False))


def predictions(search: SupernetSearch, shared: LandscapeState, archs: Array, split: str) -> Predictions:
    """Class probabilities of `archs[M, D]` with the shared weights of the first search, on the evaluation images.

    The members of an ensemble then share weights, unlike networks trained apart: the file's source says so.
    """
    land, row = search.landscape, search.landscape.row(shared, 0)
    tensors = land.net.views(row.weights)
    out, labels = [], []
    with torch.no_grad():
        for m, arch in enumerate(archs):
            gates = land.one_hot(arch)
            buffers = row.buffers
            if len(buffers):
                buffers = recalibrated(land, row.seed, tensors, buffers, gates)
            parts = []
            for x, y in land.evaluation(split):
                at = (land.gates(gates), land.active(gates))
                logits, _ = land.forward(land.net, tensors, buffers, x, *at, training=not len(buffers))
                parts.append(logits.double().softmax(1).cpu())
                if m == 0:
                    labels.append(y.cpu())
            out.append(torch.cat(parts).numpy())
    return Predictions(
        np.stack(out).astype(np.float32),
        torch.cat(labels).numpy(),
        archs,
        land.space.name,
        search.dataset.name,
        split,  # type: ignore[arg-type]
        np.full(len(archs), row.seed),
        f"{search.settings.name}, shared weights of one search by {search.method}; {REMARK}",
    )
