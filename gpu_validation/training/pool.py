"""A pool of cells trained one by one, and the predictions of all of them in two files that `ensemble` opens.

    FOLDER/00001462-0/         one training: checkpoints while it runs, then result.json and predictions.safetensors
    FOLDER/predictions-valid.h5, predictions-test.h5

A finished training is not repeated, an unfinished one goes on from its last epoch; what belongs to another
specification is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation import checkpoint
from gpu_validation.data import Dataset, batches
from gpu_validation.supernets.nb201_network import NB201Network
from gpu_validation.training.spec import TrainSpec
from gpu_validation.training.trainer import NAME, Tick, train
from nasbench_sim.ensembles import Predictions
from nasbench_sim.errors import RunError
from nasbench_sim.files import atomic_path
from nasbench_sim.spaces import NB201
from nasbench_sim.tables.manifest import cached_space

Array = npt.NDArray[Any]

RESULT = "result.json"
FORMAT = "nasbench-sim training 1"
SPLITS = ("valid", "test")
PREDICTED = "predictions"


def network_of(spec: TrainSpec, dataset: Dataset) -> Callable[[torch.Generator], torch.nn.Module]:
    """`make(generator)`: the stand-alone network of the specification's cell for images of `dataset`."""
    sizes = {
        "channels": spec.channels,
        "cells": spec.cells,
        "classes": dataset.classes,
        "in_channels": dataset.channels,
    }
    return lambda generator: NB201Network(spec.arch, **sizes, generator=generator)


def train_into(
    spec: TrainSpec,
    dataset: Dataset,
    folder: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    on_tick: Tick | None = None,
) -> dict[str, Any]:
    """Train one cell into `folder` and return its result; a finished one is read instead (with `resume`).

    Raises `RunError` for a folder that holds a training of another specification, or a finished one without `resume`.
    """
    path = folder / RESULT
    if path.exists():
        result = read_result(path, spec)
        if not resume:
            raise RunError(f"{folder} holds a finished training; give --resume to keep it, or choose another folder")
        return result
    kept = folder / "checkpoints"
    if checkpoint.numbers(kept, NAME) and not resume:
        raise RunError(f"{folder} holds an unfinished training; continue it with --resume, or choose another folder")
    make = network_of(spec, dataset)
    done = train(spec, dataset, make, device=device, folder=kept, resume=resume, on_tick=on_tick)
    found = {split: probabilities(done.network, dataset, split, spec) for split in SPLITS}
    checkpoint.save(folder, PREDICTED, spec.epochs, found, {"specification": spec.digest})
    result = {
        "format": FORMAT,
        "specification": spec.digest,
        **done.summary(),
        "curves": {name: [round(float(v), 6) for v in values] for name, values in done.curves.items()},
    }
    with atomic_path(path) as part:
        part.write_text(json.dumps(result, indent=1) + "\n")
    checkpoint.clear(kept, NAME)
    return result


def read_result(path: Path, spec: TrainSpec | None = None) -> dict[str, Any]:
    """A finished training's result; raises `RunError` for a damaged one, or for another specification than `spec`."""
    try:
        result = json.loads(path.read_text())
        if not isinstance(result, dict) or result.get("format") != FORMAT:
            raise ValueError(f"it is not a {FORMAT}")
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error}); remove its folder to train that cell again") from error
    if spec is not None and result.get("specification") != spec.digest:
        raise RunError(f"{path.parent} holds a training of another specification; choose another folder")
    return result


def probabilities(network: torch.nn.Module, dataset: Dataset, split: str, spec: TrainSpec) -> npt.NDArray[np.float32]:
    """Class probabilities float32 `[images, classes]` of a trained network on a whole split."""
    network.eval()
    with torch.no_grad():
        parts = [network(x).double().softmax(1).cpu() for x, _ in batches(dataset, split, spec.eval_batch)]
    return torch.cat(parts).numpy().astype(np.float32)


def train_pool(
    specs: Sequence[TrainSpec],
    dataset: Dataset,
    folder: Path,
    *,
    device: str = "cpu",
    on_tick: Callable[[int, int, Mapping[str, Any]], None] | None = None,
) -> dict[str, Path]:
    """Train every specification into a folder of its own, then write the two prediction files; returns their paths.

    `on_tick(trainings done, in all, last result)`. May be stopped at any moment and called again.
    """
    space = cached_space("nb201")
    assert isinstance(space, NB201)
    archs, seeds = [], []
    found: dict[str, list[Array]] = {split: [] for split in SPLITS}
    for number, spec in enumerate(specs):
        arch = space.parse(spec.arch)
        home = folder / f"{int(space.index(arch)):08d}-{spec.seed}"
        result = train_into(spec, dataset, home, device=device, resume=True)
        kept = checkpoint.load(home, PREDICTED, {"specification": spec.digest})
        if kept is None:
            raise RunError(f"{home} has a result but no predictions; remove it to train that cell again")
        for split in SPLITS:
            found[split].append(kept.arrays[split])
        archs.append(arch)
        seeds.append(spec.seed)
        if on_tick is not None:
            on_tick(number + 1, len(specs), result)
    files = {}
    about = f"{len(specs)} networks trained alone, protocol {specs[0].protocol}, {specs[0].epochs} epochs, C "
    about += f"{specs[0].channels}, N {specs[0].cells}"
    for split in SPLITS:
        files[split] = folder / f"predictions-{split}.h5"
        Predictions(
            np.stack(found[split]),
            dataset.labels[split].cpu().numpy(),
            np.stack(archs),
            "nb201",
            dataset.name,
            split,  # type: ignore[arg-type]
            np.array(seeds),
            about,
        ).save(files[split])
    return files
