"""All cells of NAS-Bench-201 trained alone, stack by stack: a table, and predictions for ensembles.

    FOLDER/stacks/seedS-NNNN-*    a finished stack: curves, quantised log-probabilities of both evaluation splits
    FOLDER/stacks/deepN-*         the same, of further seeds of the N best classes
    FOLDER/table.h5               the accuracies and losses after every epoch, as a table that `nb.open_table` opens
    FOLDER/predictions-SPLIT.h5   class probabilities of all networks, for `nasbench-sim ensemble-study`

Seed 0 trains one cell of each of the 6,466 classes, seed 1 a stratified tenth of them again: so the noise of a number
is known. Where deep ensembles are asked for, the classes that are best on validation get nine further seeds, in the
predictions and not in the table, whose second seed is of cells that nobody picked. Whatever stops it, it goes on at the
next stack; several processes may share a folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation import checkpoint
from gpu_validation.data import Dataset
from gpu_validation.stacks.cells import Stack, make_stacks, representatives, space
from gpu_validation.stacks.trainer import check_spec, train_stack
from gpu_validation.tracing import stratified
from gpu_validation.training.spec import TrainSpec
from gpu_validation.training.trainer import CURVES
from nasbench_sim.ensembles import Predictions
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.files import held
from nasbench_sim.tables.table import Key, Source, Table

Array = npt.NDArray[Any]
#: `on_stack(networks done, networks in all, seconds a network)`
OnStack = Callable[[int, int, float], None]

SPLITS = ("valid", "test")
DEEPEST = 16.0  # nats: what is less probable than 1e-7 is kept as that
REPEATED = 10  # every so many classes are trained with a second seed
DEEP_SEEDS = range(2, 11)  # with seed 0 ten networks of a cell; seed 1 is that of the tenth


class Member(NamedTuple):
    """A stack of one training seed; `deep`: among how many best classes its cells were chosen, 0 for all."""

    seed: int
    stack: Stack
    deep: int = 0

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{f'deep{self.deep}-' if self.deep else ''}seed{self.seed}-{self.stack.number:04d}"


def quantised(logs: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Log-probabilities as bytes, 255 sqrt(-log p / 16): steps of 0.0002 nats at p = 1, of 0.06 at p = 0.02.

    NaN (a network that diverged) becomes 0; its curves say so.

    >>> quantised(np.log(np.array([1.0, 0.5, 1e-9], dtype=np.float32))).tolist()
    [0, 53, 255]
    """
    depth = np.clip(np.nan_to_num(-logs, nan=0.0) / DEEPEST, 0, 1)
    return np.asarray(np.rint(255 * np.sqrt(depth)), dtype=np.uint8)


def probabilities(bytes_: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What `quantised` kept, as probabilities `[..., classes]` of sum 1.

    >>> probabilities(quantised(np.log(np.array([0.7, 0.3], dtype=np.float32)))).astype(float).round(2).tolist()
    [0.7, 0.3]
    """
    p = np.exp(-DEEPEST * np.square(bytes_.astype(np.float32) / 255))
    return np.asarray(p / p.sum(axis=-1, keepdims=True), dtype=np.float32)


def members(cells: npt.ArrayLike | None = None) -> list[Member]:
    """All stacks, those of seed 0 first; `cells` (official indices of classes' trained cells): of these only."""
    chosen = representatives() if cells is None else np.asarray(cells, dtype=np.int64)
    again = chosen[::REPEATED]
    if cells is None:
        nb201 = space()
        again = representatives()[nb201.classes[stratified(nb201, -(-len(chosen) // REPEATED))]]
    return [Member(seed, stack) for seed, some in ((0, chosen), (1, again)) for stack in make_stacks(some)]


def deep_members(
    spec: TrainSpec, dataset: Dataset, folder: Path, deep: int, cells: npt.ArrayLike | None = None
) -> list[Member]:
    """The further seeds of the `deep` classes whose seed 0 has the lowest validation loss (nats) in the last epoch.

    Raises `RunError` where seed 0 is not finished, `SpecError` for more classes than were trained.
    """
    if not deep:
        return []
    first = [(m.stack.cells, arrays) for m, arrays, _ in finished(spec, dataset, folder, members(cells)) if not m.seed]
    index = np.concatenate([some for some, _ in first])
    loss = np.concatenate([arrays["curves/valid_loss"][:, -1] for _, arrays in first])
    # the index decides between equal losses; what diverged is NaN and comes last
    best = index[np.lexsort((index, loss))][:deep]
    return [Member(seed, stack, deep) for seed in DEEP_SEEDS for stack in make_stacks(best)]


def train_all(
    spec: TrainSpec,
    dataset: Dataset,
    folder: Path,
    *,
    cells: npt.ArrayLike | None = None,
    deep: int = 0,
    on_stack: OnStack | None = None,
) -> bool:
    """Train every stack that is not in `folder` and that no other process is at; whether all are there now.

    `spec.arch` and `spec.seed` are not looked at. `deep`: so many classes get further seeds, once all others are
    trained. Raises `SpecError` for what stacks do not do, `RunError` for a folder of another specification.
    """
    check_spec(spec, dataset)
    listed = members(cells)
    classes = sum(len(m.stack.cells) for m in listed if m.seed == 0)
    if not 0 <= deep <= classes:
        raise SpecError(f"--deep is 0 to {classes} classes, got {deep}")
    kept = folder / "stacks"
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write into {folder} ({error.strerror}); choose another folder") from error
    total = sum(len(m.stack.cells) for m in listed) + deep * len(DEEP_SEEDS)
    done = 0

    def there(member: Member) -> bool:
        return checkpoint.load(kept, member.name, _facts(member, spec, dataset)) is not None

    def all_of(some: list[Member]) -> bool:
        nonlocal done
        skipped = []
        for member in some:
            seconds, mine = 0.0, True
            if not there(member):  # looked at without the lock: a look must not keep another process from it
                with held(kept / f"{member.name}.lock") as mine:
                    if mine and not there(member):
                        seconds = _train(member, spec, dataset, kept)
            skipped += [] if mine else [member]
            done += len(member.stack.cells)
            if on_stack is not None and mine:
                on_stack(done, total, seconds / len(member.stack.cells))
        return all(there(member) for member in skipped)  # others may have finished theirs meanwhile

    if not all_of(listed):
        return False
    more = deep_members(spec, dataset, folder, deep, cells)
    if not all_of(more):
        return False
    for member in listed + more:
        (kept / f"{member.name}.lock").unlink(missing_ok=True)
    return True


def _train(member: Member, spec: TrainSpec, dataset: Dataset, kept: Path) -> float:
    """Train and keep a stack; the seconds it took."""
    began = time.perf_counter()
    seeded = spec.model_copy(update={"seed": member.seed})
    made = train_stack(member.stack.cells, seeded, dataset)
    arrays: dict[str, Array] = {f"curves/{name}": made.curves[name] for name in CURVES}
    arrays |= {f"logs/{split}": quantised(made.log_probabilities[split]) for split in SPLITS}
    arrays |= {"cells": member.stack.cells, "parameters": made.parameters}
    seconds = round(time.perf_counter() - began, 3)
    checkpoint.save(kept, member.name, spec.epochs, arrays, {**_facts(member, spec, dataset), "seconds": seconds})
    return seconds


def _facts(member: Member, spec: TrainSpec, dataset: Dataset) -> dict[str, Any]:
    plain = spec.model_dump(exclude={"arch", "seed"})
    return {**plain, "seed": member.seed, "data": dataset.sha256, "networks": len(member.stack.cells)}


def finished(
    spec: TrainSpec, dataset: Dataset, folder: Path, listed: list[Member]
) -> list[tuple[Member, Mapping[str, Array], float]]:
    """These stacks with their arrays and seconds; raises `RunError` where one is not finished."""
    out: list[tuple[Member, Mapping[str, Array], float]] = []
    for member in listed:
        found = checkpoint.load(folder / "stacks", member.name, _facts(member, spec, dataset))
        if found is None or not np.array_equal(found.arrays["cells"], member.stack.cells):
            raise RunError(f"{folder} is not finished: {member.name} is missing; go on with --resume")
        out.append((member, found.arrays, float(found.facts["seconds"])))
    return out


def make_table(spec: TrainSpec, dataset: Dataset, folder: Path, name: str, cells: npt.ArrayLike | None = None) -> Table:
    """The table of seeds 0 and 1: cells of a class share its number; seed 1 has holes elsewhere."""
    nb201 = space()
    columns: dict[tuple[int, str], Array] = {}
    seconds = 0.0
    for member, arrays, took in finished(spec, dataset, folder, members(cells)):
        seconds += took
        for what in CURVES:
            column = columns.setdefault((member.seed, what), np.full((len(nb201.all), spec.epochs), np.nan))
            column[arrays["cells"]] = arrays[f"curves/{what}"]
    accuracy: dict[Key, npt.NDArray[np.float32]] = {}
    metrics: dict[tuple[str, str], npt.NDArray[np.float32]] = {}
    for (seed, what), values in columns.items():
        split, kind = what.split("_")
        by_class = np.full((int(nb201.classes.max()) + 1, spec.epochs), np.nan)
        trained = np.flatnonzero(~np.isnan(values[:, -1]))
        by_class[nb201.classes[trained]] = values[trained]
        for epoch in range(spec.epochs):
            column = by_class[nb201.classes, epoch].astype(np.float32)
            if kind == "accuracy":
                accuracy[Key(dataset.name, split, epoch + 1, seed)] = column
            else:
                metrics[f"loss_nats/{split}/{epoch + 1}/{seed}", dataset.name] = column
    key = Key(dataset.name, "valid", spec.epochs, 0)
    how = f"C {spec.channels}, N {spec.cells}, {spec.epochs} epochs, batch {spec.batch}, lr {spec.lr:g}"
    source = Source(
        name=f"networks trained alone by gpu-validation train --all: {how}",
        gives="accuracies and losses after every epoch",
        sha256=dataset.sha256,
        licence="MIT",
    )
    facts = {
        "training": spec.model_dump(exclude={"arch", "seed"}),
        "seconds": round(seconds),
        "torch": torch.__version__,
    }
    return Table(
        name=name,
        space=nb201,
        accuracy=accuracy,
        metrics=metrics,
        search_key=key,
        report_keys={split: key._replace(split=split) for split in SPLITS},
        sources=(source,),
        remark=f"networks of {spec.channels} channels trained for {spec.epochs} epochs on {dataset.name}; "
        "numbers of another size than the papers'",
        extra=facts,
    )


def make_predictions(
    spec: TrainSpec,
    dataset: Dataset,
    folder: Path,
    split: str,
    cells: npt.ArrayLike | None = None,
    deep: int = 0,
) -> Predictions:
    """What all networks that did not diverge say of `valid` or `test`, those of `deep` classes' further seeds last."""
    if split not in SPLITS:
        raise SpecError(f"predictions are kept of {' and '.join(SPLITS)}, not {split!r}")
    said, archs, seeds = [], [], []
    listed = members(cells) + deep_members(spec, dataset, folder, deep, cells)
    for member, arrays, _ in finished(spec, dataset, folder, listed):
        good = np.isfinite(arrays["curves/valid_loss"][:, -1])
        said.append(probabilities(arrays[f"logs/{split}"][good]))
        archs.append(space().at(arrays["cells"][good]))
        seeds.append(np.full(int(good.sum()), member.seed))
    return Predictions(
        np.concatenate(said),
        dataset.labels[split].cpu().numpy(),
        np.concatenate(archs),
        "nb201",
        dataset.name,
        split,  # type: ignore[arg-type]
        np.concatenate(seeds),
        f"networks trained alone by gpu-validation train --all (C {spec.channels}, N {spec.cells}, "
        f"{spec.epochs} epochs); probabilities kept in 8 bits; data: {dataset.about or dataset.name}",
    )
