"""Small files in the official layout of NATS-Bench and NAS-Bench-201, with made-up numbers."""

from __future__ import annotations

import bz2
import io
import pickle
import tarfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasbench_sim.spaces import NB201

SPACE = NB201()
FOLDER = "NATS-tss-v1_0-3ffb9-simple"
EVALUATED = {  # data set -> budget -> official split -> whether every epoch was evaluated
    "cifar10-valid": {200: {"x-valid": True, "ori-test": False}, 12: {"x-valid": True, "ori-test": True}},
    "cifar10": {200: {"ori-test": True}, 12: {"ori-test": True}},
    "cifar100": {
        200: {"ori-test": True, "x-valid": False, "x-test": False},
        12: {"x-valid": True, "x-test": True, "ori-test": True},
    },
}
EVALUATED["ImageNet16-120"] = EVALUATED["cifar100"]
SEEDS = {200: (777, 888, 999), 12: (111,)}


def a_run(dataset: str, epochs: int, seed: int, rng: np.random.Generator) -> dict[str, Any]:
    """State of one `ResultsCount`."""
    accuracies: dict[str, float] = {}
    losses: dict[str, float] = {}
    times: dict[str, float] = {}
    for split, every in EVALUATED[dataset][epochs].items():
        seconds = float(rng.uniform(0.1, 5))
        for epoch in range(epochs):
            times[f"{split}@{epoch}"] = seconds
            if every or epoch == epochs - 1:
                accuracies[f"{split}@{epoch}"] = float(rng.uniform(1, 95))
                losses[f"{split}@{epoch}"] = float(rng.uniform(0.1, 5))
    per_epoch = float(rng.uniform(1, 50))
    return {
        "name": dataset,
        "train_acc1es": {e: float(v) for e, v in enumerate(rng.uniform(1, 99, epochs))},
        "train_acc5es": None,
        "train_losses": {e: float(v) for e, v in enumerate(rng.uniform(0.01, 5, epochs))},
        "train_times": OrderedDict((e, per_epoch) for e in range(epochs)),
        "arch_config": {"channel": 16, "num_cells": 5, "class_num": 10},
        "params": np.float64(rng.uniform(0.1, 1.5)),
        "flop": float(rng.uniform(8, 200)),
        "seed": f"{seed:04d}",
        "epochs": epochs,
        "latency": [np.float64(rng.uniform(0.01, 0.1))],
        "eval_names": list(EVALUATED[dataset][epochs]),
        "eval_acc1es": accuracies,
        "eval_times": times,
        "eval_losses": losses,
        "net_state_dict": None,
    }


def results(cell: int, epochs: int, *, seeds: Sequence[int] | None = None, rng: np.random.Generator) -> dict[str, Any]:
    """State of one `ArchResults`."""
    listed = {d: list(seeds or SEEDS[epochs]) for d in EVALUATED}
    if epochs == 12:
        listed["cifar10-valid"] = [111, 777]
    return {
        "arch_index": cell,
        "arch_str": SPACE.strings[cell],
        "all_results": {(d, s): a_run(d, epochs, s, rng) for d, ss in listed.items() for s in ss},
        "dataset_seed": listed,
        "clear_net_done": True,
    }


def architecture(cell: int, *, seeds: Sequence[int] = (777, 888, 999)) -> OrderedDict[str, Any]:
    """What stands in NNNNNN.pickle.pbz2."""
    rng = np.random.default_rng(cell)
    return OrderedDict(
        [("12", results(cell, 12, rng=rng)), ("200", results(cell, 200, seeds=seeds, rng=rng))],
    )


def meta() -> dict[str, Any]:
    """What stands in meta.pickle.pbz2."""
    return {
        "meta_archs": list(SPACE.strings),
        "total_archs": SPACE.size,
        "arch2infos": None,
        "evaluated_indexes": set(),
    }


def packed(content: object) -> bytes:
    """Pickled and compressed as `nats_bench.pickle_save` does."""
    return bz2.compress(pickle.dumps(content, 4), 1)


META = packed(meta())


def write_folder(folder: Path, cells: dict[int, Any]) -> Path:
    """A folder of the given architectures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.pickle.pbz2").write_bytes(META)
    for cell, content in cells.items():
        (folder / f"{cell:06d}.pickle.pbz2").write_bytes(content if isinstance(content, bytes) else packed(content))
    return folder


def write_tar(path: Path, members: Sequence[tuple[tarfile.TarInfo | str, bytes]]) -> Path:
    """An archive of members in this order, each a name or a whole header."""
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(name, str):
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


def nb201_object(cells: dict[int, Any]) -> dict[str, Any]:
    """What stands in a NAS-Bench-201 .pth file."""
    return {
        "meta_archs": list(SPACE.strings),
        "total_archs": SPACE.size,
        "arch2infos": {cell: {"full": a["200"], "less": a["12"]} for cell, a in cells.items()},
        "evaluated_indexes": sorted(cells),
    }
