"""Recorded supernet searches, sorted for a comparison: one scene a setting of the supernet, one recording a method."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import RunError, TableError
from nasbench_sim.runs.trace import Trace
from nasbench_sim.searchers.gradient import StepOrder
from nasbench_sim.spaces import Space
from nasbench_sim.tables.catalogue import open_table
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]
#: data set of a recording -> table and its data set in which derived cells are looked up
OWN_TABLE = {"fashion-mini": ("nb201-mini", "fashion-mini"), "cifar10-subset": ("nb201", "cifar10")}
#: settings that change how long a supernet takes, not what is trained
_SPEED = ("backend", "compiled", "channels_last", "shards", "static", "eval_batch")


@dataclass(frozen=True)
class Recording:
    """All recorded seeds of one method in one setting; arrays as in `Trace`, failed searches left out.

    `theta_skip` `[N, E]`: probability of skip connections, mean over decisions; NaN where a method has no theta.
    `order`: in which the supernet took the weight and the architecture step.
    """

    label: str
    method: str
    params: Mapping[str, Any]
    epochs: int
    steps_per_epoch: int
    seeds: tuple[int, ...]
    failed: int
    archs: Array
    theta_skip: Array
    cells: Array
    looked: Array
    one_shot: Array
    seconds: float
    order: StepOrder


@dataclass(frozen=True)
class Scene:
    """Recordings of one supernet on one data set: their methods may be ranked against each other."""

    name: str
    dataset: str
    space: Space
    words: str
    recordings: tuple[Recording, ...]


def load_scenes(folder: Path) -> tuple[list[Scene], list[str]]:
    """Scenes of the finished traces in `folder/*.h5` and `folder/PLAN/*.h5`, and what was left out.

    Raises `RunError`, one line, where there is no folder or no finished recording in it, and for damaged files.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder of recordings; name one with --traces, or `gpu-validation record`")
    found = sorted([*folder.glob("*.h5"), *folder.glob("*/*.h5")])
    groups: dict[tuple[str, str], list[tuple[Path, Trace]]] = {}
    notes = []
    for path in found:
        trace = Trace.load(path)
        about = trace.about
        if not all(isinstance(about.get(key), int) for key in ("epochs", "steps_per_epoch")):
            raise RunError(f"{path}: does not say its epochs and steps_per_epoch; record it again")
        if trace.epochs < int(about["epochs"]):
            notes.append(f"{path.name} is not finished ({trace.epochs} of {about['epochs']} epochs): left out")
            continue
        plan = path.parent.name if path.parent != folder else folder.name
        groups.setdefault((plan, _setting(about)), []).append((path, trace))
    if not groups:
        raise RunError(f"{folder} holds no finished recording of a search; `gpu-validation record` makes them")
    per_plan = [plan for plan, _ in groups]
    scenes: list[Scene] = []
    for (plan, _), traces in groups.items():
        about = traces[0][1].about
        channels = about.get("setting", {}).get("channels")
        name = f"{plan} C{channels}" if per_plan.count(plan) > 1 and channels else plan
        name = name if name not in {s.name for s in scenes} else f"{name} #{len(scenes) + 1}"
        recordings = _recordings(traces)
        scenes.append(Scene(name, str(about.get("dataset", "")), traces[0][1].space, _words(about), recordings))
    return sorted(scenes, key=lambda s: s.name), notes


def _setting(about: Mapping[str, Any]) -> str:
    """What must be equal for two recordings to be of one scene, as text."""
    setting = {k: v for k, v in dict(about.get("setting", {})).items() if k not in _SPEED}
    return json.dumps([about.get("dataset"), about.get("data_sha256"), about.get("space"), setting], sort_keys=True)


def _words(about: Mapping[str, Any]) -> str:
    """The setting of a supernet in words."""
    setting = dict(about.get("setting", {}))
    cells = setting.get("cells")
    size = f"{setting['channels']} channels, {cells} cell{'' if cells == 1 else 's'} a stage, " if cells else ""
    images = f", {about['train_images']:,} training images" if "train_images" in about else ""
    return f"{size}{about.get('dataset', 'data not named')}{images}"


def _recordings(traces: Sequence[tuple[Path, Trace]]) -> tuple[Recording, ...]:
    groups: dict[str, list[tuple[Path, Trace]]] = {}
    for path, trace in traces:
        about = trace.about
        key = [trace.method, about.get("params", {}), about["epochs"], about["steps_per_epoch"]]
        groups.setdefault(json.dumps(key, sort_keys=True), []).append((path, trace))
    methods = [members[0][1].method for members in groups.values()]
    out = []
    for members in groups.values():
        method = members[0][1].method
        names = {path.stem.rpartition("-seed")[0] or path.stem for path, _ in members}
        out.append(_joined(method if methods.count(method) == 1 else min(names), [t for _, t in members]))
    return tuple(sorted(out, key=lambda r: r.label))


def _joined(label: str, traces: Sequence[Trace]) -> Recording:
    first = traces[0]
    seeds = [int(s) for t in traces for s in t.seeds]
    if len(set(seeds)) < len(seeds):
        raise RunError(f"two recordings of {label} are of the same seed; keep one of them")
    for t in traces[1:]:
        if not (np.array_equal(t.cells, first.cells) and np.array_equal(t.looked, first.looked)):
            raise RunError(f"recordings of {label} looked at different cells or epochs; record them by one plan")
    archs = np.concatenate([t.archs for t in traces]).astype(np.int64)
    theta = np.concatenate([t.epoch["theta"] for t in traces]).astype(np.float64)
    good = (archs >= 0).all(axis=(1, 2))
    one_shot = np.concatenate([t.one_shot for t in traces]) if len(first.looked) else first.one_shot
    return Recording(
        label=label,
        method=first.method,
        params=dict(first.about.get("params", {})),
        epochs=first.epochs,
        steps_per_epoch=int(first.about["steps_per_epoch"]),
        seeds=tuple(seeds),
        failed=int((~good).sum()),
        archs=archs[good],
        theta_skip=skip_mass(theta[good], first.space),
        cells=first.cells,
        looked=first.looked,
        one_shot=one_shot[good] if one_shot.size else one_shot,
        order=first.order,
        seconds=float(sum(float(t.about.get("seconds", 0.0)) for t in traces)),
    )


def skip_mass(theta: Array, space: Space) -> Array:
    """Probability of skip connections, mean over decisions, of `theta[..., D, K]`."""
    return np.asarray((theta * space.skip).sum(axis=-1).mean(axis=-1))


def table_of(scene: Scene, asked: str | None, opened: dict[str, Table]) -> tuple[Table, str, str]:
    """The table that a scene's cells are looked up in, its data set, and what a reader must know (empty: nothing).

    `opened` keeps tables that were read. Raises `TableError` where no table is known or present.
    """
    name, dataset = OWN_TABLE.get(scene.dataset, ("", ""))
    if asked is None and not name:
        raise TableError(f"no table is known for recordings on {scene.dataset!r}; name one with --table")
    name = asked or name
    if name not in opened:
        opened[name] = open_table(name)
    table = opened[name]
    if table.space.name != scene.space.name:
        raise TableError(f"table {name} is of space {table.space.name}, the recordings are of {scene.space.name}")
    if scene.dataset in table.datasets():
        return table, scene.dataset, ""
    here = dataset if dataset in table.datasets() else table.search_key.dataset
    return (
        table,
        here,
        (f"cells are looked up in {table.name} on {here}: networks of another size and training than this supernet's"),
    )
