"""A search on a true supernet: the recipes, records and figures of nasbench_sim, with a network that is trained.

    landscape = SupernetLandscape(...)      what is searched
    judge     = SupernetJudge(...)          how good the derived cells are, after every epoch
    Batch.on(spec, seeds, searcher, landscape, judge)

A checkpoint is written after every epoch; a run that was stopped goes on from the last one, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_validation import checkpoint
from gpu_validation.data import Dataset, batch
from gpu_validation.devices import device_name, find_device
from gpu_validation.evaluate import SupernetJudge
from gpu_validation.landscape import SupernetLandscape
from gpu_validation.parallel import Group
from gpu_validation.settings import SupernetSettings
from gpu_validation.slab import Slab
from gpu_validation.supernets import make_supernet
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.runs import Run, RunSpec, make_spec
from nasbench_sim.runs.assemble import assemble
from nasbench_sim.runs.checkpoint import flatten, unflatten
from nasbench_sim.runs.engine import Batch, Progress
from nasbench_sim.runs.judge import TableJudge
from nasbench_sim.runs.problem import in_order, make_searcher
from nasbench_sim.searchers import get_method
from nasbench_sim.tables.table import Table

NAME = "search"
SLABS = ("weights", "momentum", "buffers")
REMARK = (
    "one-shot accuracy: that of the derived cell with the shared weights of the very supernet that was searched, not "
    "that of a network trained alone"
)
Tick = Callable[[int, int, Progress], None]


@dataclass
class SupernetSearch:
    """One method, some seeds, one supernet and data set.

    `steps_per_epoch` None: one pass over the training split. `table`: where the accuracies of derived cells are looked
    up instead of measured. Raises `SpecError` for what does not go together, before anything is trained.
    """

    method: str
    settings: SupernetSettings
    dataset: Dataset
    seeds: int | range | tuple[int, ...]
    epochs: int
    steps_per_epoch: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    table: Table | None = None
    proxy: Callable[..., Any] | None = None
    group: Group = field(default_factory=Group)

    def __post_init__(self) -> None:
        family = get_method(self.method).family
        if family not in ("differentiable", "sampling", "training-free"):
            raise SpecError(f"{self.method} is a {family} method and trains no shared weights; use nasbench-sim search")
        find_device(self.device)
        steps = self.steps_per_epoch or -(-self.dataset.size("train") // self.settings.batch)
        wide = self.settings.precision == "float64"
        self.spec: RunSpec = make_spec(
            method=self.method,
            params=dict(self.params),
            table=self.settings.name,
            dataset=self.dataset.name,
            landscape="supernet",
            landscape_params=self.settings.model_dump(),
            seeds=self.seeds,
            epochs=self.epochs,
            steps_per_epoch=steps,
            dtype="float64" if wide else "float32",
        )
        make = make_supernet(self.settings, self.dataset)
        proxy = self.proxy or (
            stand_alone_proxy(self.settings, self.dataset) if self.settings.space == "nb201" else None
        )
        how: dict[str, Any] = {"device": self.device, "proxy": proxy, "group": self.group}
        self.landscape = SupernetLandscape(self.settings, self.dataset, make, **how)
        judge = SupernetJudge(self.landscape, self._table_judge())
        searcher = in_order(make_searcher(self.spec), self.settings.order)
        self.batch = Batch.on(self.spec, np.array(self.spec.seeds), searcher, self.landscape, judge)

    def _table_judge(self) -> TableJudge | None:
        if self.table is None:
            return None
        if self.table.space.name != self.settings.space:
            raise SpecError(f"table {self.table.name} is of space {self.table.space.name}, not {self.settings.space}")
        return TableJudge(self.table, self.dataset.name)

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint of this search belongs to."""
        return {"specification": self.spec.digest, "seeds": list(self.spec.seeds), "data": self.dataset.sha256}

    def run(
        self,
        folder: Path | None = None,
        *,
        resume: bool = False,
        on_tick: Tick | None = None,
        on_epoch: Callable[[Progress], None] | None = None,
        on_resume: Callable[[int], None] | None = None,
    ) -> Run:
        """Search to the end and return the record; `folder` holds checkpoints meanwhile and the record afterwards.

        `on_tick(epochs done, epochs in all, progress)` after every epoch. `on_epoch(progress)` comes before the epoch's
        checkpoint is written, so that whatever it keeps is never behind; `on_resume(epochs)` says where a stopped
        search goes on. Raises `RunError` for a folder of another run.
        """
        began, before = time.perf_counter(), 0.0
        progress = self.batch.start()
        kept = None if folder is None else folder / "checkpoints"
        if kept is not None and resume:
            progress, before = self._resumed(kept)
            if on_resume is not None:
                on_resume(progress.epoch)
        if on_tick is not None:
            on_tick(progress.epoch, self.batch.epochs, progress)
        while progress.epoch < self.batch.epochs:
            progress = self.batch.advance(progress)
            if on_epoch is not None:
                on_epoch(progress)
            seconds = before + time.perf_counter() - began
            if kept is not None and self.group.rank == 0:
                arrays = {k: np.asarray(v) for k, v in flatten(progress).items()}
                checkpoint.save(kept, NAME, progress.epoch, arrays, {**self.facts, "seconds": seconds})
            if on_tick is not None:
                on_tick(progress.epoch, self.batch.epochs, progress)
        run = assemble(self.spec, self.about(), [progress], self.batch, seconds=before + time.perf_counter() - began)
        if folder is not None and kept is not None and self.group.rank == 0:
            run.save(folder)
            checkpoint.clear(kept, NAME)
        return run

    def _resumed(self, folder: Path) -> tuple[Progress, float]:
        found = checkpoint.load(folder, NAME, self.facts)
        if found is None:
            raise RunError(f"{folder} holds no checkpoint to resume from; leave --resume away to start")
        progress = unflatten(found.arrays, found.number)
        extra = dict(progress.shared.extra)
        for name in SLABS:
            extra[name] = Slab(torch.from_numpy(extra[name]).to(self.landscape.device))
        return progress._replace(shared=progress.shared._replace(extra=extra)), float(found.facts.get("seconds", 0.0))

    def about(self) -> dict[str, Any]:
        """What the record says it was made on, in the place of a table."""
        judge = self.batch.judge
        text = json.dumps([self.settings.model_dump(), self.dataset.sha256], sort_keys=True)
        if self.table is None:
            keys = {role: [self.dataset.name, role, "search", "one-shot"] for role in judge.roles}
        else:
            looked_up = self.table.report_keys_for(self.dataset.name)
            keys = {role: [*map(str, key)] for role, key in looked_up.items()}
        return {
            "name": self.settings.name,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "remark": REMARK if self.table is None else "",
            "search_key": [self.dataset.name, "valid", "search", "mini-batch loss"],
            "report_keys": keys,
            "best": {},
            "sources": [],
            "loss": self.landscape.loss_name,
            "device": device_name(self.device),
            "torch": torch.__version__,
        }


def stand_alone_proxy(settings: SupernetSettings, dataset: Dataset) -> Callable[[str, Any], Any]:
    """`proxy(name, archs[..., 6])`: zero-cost scores of stand-alone networks of the supernet's size on this data set.

    Networks are drawn with seed 42, one a class of equal cells; the mini-batch is the first of the training split.
    Classes are scored once a search. Raises `SpecError` when asked, for images that proxies are not made for.
    """
    from gpu_validation.proxies.saliency import Batch
    from gpu_validation.proxies.score import Cache, Setting, score

    cache: Cache = {}

    def proxy(name: str, archs: Any) -> Any:
        _, channels, side, _ = dataset.images["train"].shape
        sizes = {"classes": dataset.classes, "size": side, "in_channels": channels}
        setting = Setting(**sizes, channels=settings.channels, cells=settings.cells)
        images, labels = batch(dataset, "train", seed=setting.seed, step=0, size=settings.batch, augment=False)
        return score(name, archs, setting, batch=Batch(images, labels), cache=cache)

    return proxy
