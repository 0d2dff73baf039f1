"""Training many cells one after another, and their predictions as the two files that ensembles are chosen from.

    FOLDER/training.json            what was trained and how, curves of every member
    FOLDER/predictions-valid.h5     class probabilities of all members: `nasbench-sim ensemble` opens the two
    FOLDER/predictions-test.h5
    FOLDER/members/                 one finished checkpoint a member (curves, probabilities), and the one in training

A member is a cell and a training seed. Whatever stops a pool, it goes on where it was; finished members are never
trained again, also where more cells are asked for later. A member that diverges is left out and named: the hours of
the others are not lost with it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation import checkpoint
from gpu_validation.data import Dataset
from gpu_validation.supernets.nb201_network import NB201Network
from gpu_validation.training.spec import TrainSpec
from gpu_validation.training.trainer import CURVES, NAME, Diverged, predict, train
from nasbench_sim.ensembles import Predictions
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.files import atomic_path
from nasbench_sim.spaces import Space
from nasbench_sim.tables.manifest import cached_space

Array = npt.NDArray[Any]
#: `on_tick(member, epochs done, last values)`, after every epoch
Tick = Callable[[int, int, Mapping[str, float]], None]

FORMAT = "gpu-validation training 1"
RESULT = "training.json"
SPLITS = ("valid", "test")
#: what a folder of a pool holds; anything else is not ours
CONTENT = frozenset({RESULT, "members", *(f"predictions-{split}.h5" for split in SPLITS)})


class Member(NamedTuple):
    """A trained network: its specification, curves `[epochs]` by name, probabilities `[n, classes]` by split."""

    spec: TrainSpec
    curves: Mapping[str, Array]
    probabilities: Mapping[str, npt.NDArray[np.float32]]
    parameters: int
    seconds: float


@dataclass(frozen=True)
class Pool:
    """Members in the order in which they were asked for, and a line for each that diverged and is left out."""

    members: tuple[Member, ...]
    dataset: Dataset
    device: str
    failed: tuple[str, ...] = ()

    def predictions(self, split: str) -> Predictions:
        """What all members say of `valid` or `test`."""
        space = cached_space("nb201")
        spec = self.members[0].spec
        how = f"{spec.protocol} protocol, {spec.epochs} epochs, C {spec.channels}, N {spec.cells}"
        return Predictions(
            np.stack([member.probabilities[split] for member in self.members]),
            self.dataset.labels[split].cpu().numpy(),
            np.stack([space.parse(member.spec.arch) for member in self.members]),
            space.name,
            self.dataset.name,
            split,  # type: ignore[arg-type]
            np.array([member.spec.seed for member in self.members]),
            f"networks trained alone by gpu-validation train ({how}); data: {self.dataset.about or self.dataset.name}",
        )

    def document(self) -> dict[str, Any]:
        """Everything but the probabilities as plain data; a number that is not finite becomes null."""
        space = cached_space("nb201")
        return {
            "format": FORMAT,
            "data": {"name": self.dataset.name, "sha256": self.dataset.sha256, "about": self.dataset.about},
            "device": self.device,
            "torch": torch.__version__,
            "seconds": round(sum(member.seconds for member in self.members), 3),
            "members": [_plain(space, member) for member in self.members],
            "failed": list(self.failed),
        }

    def save(self, folder: Path) -> dict[str, Path]:
        """Write the document and both files of predictions atomically; returns their paths by name."""
        files = {}
        for split in SPLITS:
            files[f"predictions {split}"] = path = folder / f"predictions-{split}.h5"
            self.predictions(split).save(path)
        files["result"] = path = folder / RESULT
        with atomic_path(path) as part:
            part.write_text(json.dumps(self.document(), indent=1, allow_nan=False) + "\n")
        return files


def _plain(space: Space, member: Member) -> dict[str, Any]:
    curves = {name: [v if math.isfinite(v) else None for v in map(float, member.curves[name])] for name in CURVES}
    return {
        "index": space.resolve(member.spec.arch),
        **member.spec.model_dump(),
        "parameters": member.parameters,
        "seconds": round(member.seconds, 3),
        **{name: values[-1] for name, values in curves.items()},
        "curves": curves,
    }


def train_pool(
    specs: Sequence[TrainSpec],
    dataset: Dataset,
    *,
    device: str = "cpu",
    folder: Path | None = None,
    resume: bool = False,
    on_tick: Tick | None = None,
) -> Pool:
    """Train every specification on `dataset`, and keep what each network says of the validation and test images.

    With `resume`, members that `folder` holds are taken from there and the one in training goes on. Raises `SpecError`
    for no or equal specifications, `Diverged` where no member is left, and whatever else `train` raises, with the
    cell's name before it.
    """
    keys = [(spec.arch, spec.seed) for spec in specs]
    if not specs:
        raise SpecError("a pool has at least one cell to train")
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise SpecError(f"{twice[0]} with seed {twice[1]} is asked for twice; list each cell once")
    kept = None if folder is None else folder / "members"
    out, failed = [], []
    for number, spec in enumerate(specs):
        found = _finished(kept, spec, dataset) if kept is not None and resume else None
        if found is None:
            tick = None if on_tick is None else _numbered(on_tick, number)
            try:
                found = _one(spec, dataset, device, kept, resume, tick)
            except Diverged as error:
                failed.append(str(error))
                continue
        elif on_tick is not None:
            on_tick(number, spec.epochs, {name: float(found.curves[name][-1]) for name in CURVES})
        out.append(found)
    if not out:
        raise Diverged(
            failed[0] if len(failed) == 1 else f"none of {len(failed)} networks could be trained; {failed[0]}"
        )
    return Pool(tuple(out), dataset, device, tuple(failed))


def check_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise `RunError` for an output folder that holds something else, or a pool that is not to be continued."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a folder")
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if held - CONTENT:
        others = ", ".join(sorted(held - CONTENT)[:3])
        raise RunError(f"{folder} holds {others}, which no training writes; choose another folder")
    if held and not (resume or overwrite):
        raise RunError(
            f"{folder} is not empty; continue it with --resume, replace it with --overwrite, or choose another"
        )


def clear(folder: Path) -> None:
    """Remove what a pool wrote into `folder`, and nothing else."""
    members = folder / "members"
    for path in list(members.iterdir()) if members.is_dir() else []:
        if (found := re.fullmatch(r"(\d{5}-seed\d+)(-\d{8}\.\w+)?", path.name)) is None:
            continue
        checkpoint.clear(*((path, NAME) if path.is_dir() else (members, found[1])))
    for name in CONTENT - {"members"}:
        (folder / name).unlink(missing_ok=True)


def _numbered(on_tick: Tick, number: int) -> Callable[[int, int, Mapping[str, float]], None]:
    return lambda done, total, last: on_tick(number, done, last)


def _name(spec: TrainSpec) -> str:
    return f"{cached_space('nb201').resolve(spec.arch):05d}-seed{spec.seed}"


def _facts(spec: TrainSpec, dataset: Dataset) -> dict[str, Any]:
    return {**spec.model_dump(), "data": dataset.sha256}


def _one(
    spec: TrainSpec,
    dataset: Dataset,
    device: str,
    kept: Path | None,
    resume: bool,
    on_tick: Callable[[int, int, Mapping[str, float]], None] | None,
) -> Member:
    """Train one member and keep it."""
    sizes = {"channels": spec.channels, "cells": spec.cells, "classes": dataset.classes}
    folder = None if kept is None else kept / _name(spec)

    def make(generator: torch.Generator) -> NB201Network:
        return NB201Network(spec.arch, **sizes, in_channels=dataset.channels, generator=generator)

    try:
        done = train(spec, dataset, make, device=device, folder=folder, resume=resume, on_tick=on_tick)
    except RunError as error:
        raise type(error)(f"cell {_name(spec)}: {error}") from error
    said = {split: predict(done.network, dataset, split, spec.eval_batch) for split in SPLITS}
    parameters = sum(p.numel() for p in done.network.parameters())
    if kept is not None and folder is not None:
        arrays = {**said, **{f"curves/{name}": done.curves[name] for name in CURVES}}
        facts = {**_facts(spec, dataset), "parameters": parameters, "seconds": done.seconds}
        checkpoint.save(kept, _name(spec), spec.epochs, arrays, facts)
        checkpoint.clear(folder, NAME)
    return Member(spec, done.curves, said, parameters, done.seconds)


def _finished(kept: Path, spec: TrainSpec, dataset: Dataset) -> Member | None:
    """The member as it was kept, or None; raises `RunError` for one of another specification or a damaged one."""
    found = checkpoint.load(kept, _name(spec), _facts(spec, dataset))
    if found is None:
        return None
    wanted: dict[str, tuple[int, ...]] = {split: (dataset.size(split), dataset.classes) for split in SPLITS}
    wanted |= {f"curves/{name}": (spec.epochs,) for name in CURVES}
    if {name: array.shape for name, array in found.arrays.items()} != wanted:
        raise RunError(f"{kept / _name(spec)} holds no member of this pool; remove it, or choose another folder")
    checkpoint.clear(kept / _name(spec), NAME)  # left there by a kill between the two
    curves = {name: found.arrays[f"curves/{name}"] for name in CURVES}
    said = {split: found.arrays[split] for split in SPLITS}
    return Member(spec, curves, said, int(found.facts.get("parameters", 0)), float(found.facts.get("seconds", 0.0)))
