"""One network trained alone, from a specification to a folder of results; stopped, it goes on bit for bit.

    train.json                          specification, accuracy and loss of every split by epoch, device, versions
    weights-EPOCHS.safetensors, .json   the trained weights and running statistics
    predictions-valid.h5, -test.h5      class probabilities of every image, for `nasbench-sim ensemble`
    checkpoints/                        meanwhile; written after every epoch, the last two kept

train.json is written last: where it is, the rest is whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation import checkpoint
from gpu_validation.data import Dataset
from gpu_validation.data.dataset import batch
from gpu_validation.predictions import SPLITS, predicted
from gpu_validation.training import Trainer, TrainSpec
from gpu_validation.training.loop import COLUMNS, NotFinite
from gpu_validation.training.memory import told
from nasbench_sim.errors import RunError
from nasbench_sim.files import atomic_path

FORMAT = "gpu-validation training 1"
FILE, NAME, WEIGHTS = "train.json", "training", "weights"
#: called after every epoch with epochs done, epochs in all, and the epoch's `COLUMNS` by name
OnEpoch = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Trained:
    """A finished training: its specification, `curves` float64 `[epochs, 6]` (see `COLUMNS`), and train.json."""

    spec: TrainSpec
    curves: npt.NDArray[np.float64]
    document: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Cell, seed and the last epoch's accuracies in percent."""
        final = dict(zip(COLUMNS, self.curves[-1].tolist(), strict=True))
        scores = {name: round(final[name], 3) for name in COLUMNS if name.endswith("accuracy")}
        facts = {"arch": self.spec.name, "index": self.spec.index, "seed": self.spec.seed, "epochs": self.spec.epochs}
        return {**facts, "parameters": self.document["parameters"], **scores, "seconds": self.document["seconds"]}


def train_arch(
    spec: TrainSpec,
    dataset: Dataset,
    folder: Path | None = None,
    *,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Train one network; what is finished in `folder` is returned as it is, what is not goes on with `resume`.

    Raises `SpecError` for impossible settings, `RunError` for a folder of another run, a loss that is not finite (the
    state after the last whole epoch is kept) and too little memory (it names a batch that fits).

    >>> from gpu_validation.data import load_dataset
    >>> from gpu_validation.training import make_train_spec
    >>> spec = make_train_spec(1462, "short", epochs=2, channels=2, cells=1, batch=32)
    >>> train_arch(spec, load_dataset("synthetic")).curves.shape
    (2, 6)
    """
    facts = {"specification": spec.digest, "data": dataset.sha256}
    kept = None if folder is None else folder / "checkpoints"
    if folder is not None and (folder / FILE).exists():
        return load_trained(folder, spec, dataset)
    found = None if kept is None else checkpoint.load(kept, NAME, facts)
    if found is not None and not resume:
        raise RunError(f"{folder} holds an unfinished training; continue it with --resume, or choose another folder")
    began = time.perf_counter()
    with _told(spec, dataset):
        trainer = Trainer(spec, dataset)
        if found is not None:
            trainer.restore(found.arrays, found.number)
            began -= float(found.facts.get("seconds", 0.0))
        elif kept is not None:
            checkpoint.save(kept, NAME, 0, trainer.arrays(), facts)
        while trainer.done < spec.epochs:
            try:
                trainer.epoch()
            except NotFinite as error:
                where = f"; the state after epoch {trainer.done} is kept in {kept}" if kept is not None else ""
                raise NotFinite(f"{error}{where}", error.step) from error
            if kept is not None:
                seconds = {"seconds": time.perf_counter() - began}
                checkpoint.save(kept, NAME, trainer.done, trainer.arrays(), {**facts, **seconds})
            if on_epoch is not None:
                on_epoch(trainer.done, spec.epochs, dict(zip(COLUMNS, trainer.curves[-1], strict=True)))
    trained = Trained(spec, np.array(trainer.curves), _document(trainer, time.perf_counter() - began))
    if folder is not None and kept is not None:
        _write(trained, trainer, folder, facts)
        checkpoint.clear(kept, NAME)
    return trained


def _told(spec: TrainSpec, dataset: Dataset) -> Any:
    """Running out of memory is told with the batch for which a new network has enough."""

    def one_step(size: int) -> None:
        fresh = Trainer(spec, dataset)
        fresh.net.train()
        fresh.step(*batch(dataset, "train", seed=spec.seed, step=0, size=size), lr=0.0)

    return told(device_name(dataset.device), spec.batch, spec.eval_batch, one_step)


def device_name(device: torch.device) -> str:
    """The device in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def _document(trainer: Trainer, seconds: float) -> dict[str, Any]:
    spec, data = trainer.spec, trainer.dataset
    columns = np.array(trainer.curves).T.tolist()
    return {
        "format": FORMAT,
        "arch": spec.name,
        "index": spec.index,
        "specification": spec.model_dump(mode="json"),
        "digest": spec.digest,
        "data": {"name": data.name, "sha256": data.sha256, "about": data.about},
        "parameters": trainer.parameters,
        "curves": {
            name: [x if np.isfinite(x) else None for x in column] for name, column in zip(COLUMNS, columns, strict=True)
        },
        "seconds": round(seconds, 3),
        "device": device_name(trainer.device),
        "torch": torch.__version__,
    }


def _write(trained: Trained, trainer: Trainer, folder: Path, facts: Mapping[str, Any]) -> None:
    for split in SPLITS:
        predicted(trainer, split).save(folder / f"predictions-{split}.h5")
    arrays = {k: v for k, v in trainer.arrays().items() if k.startswith(("weights/", "buffers/"))}
    checkpoint.save(folder, WEIGHTS, trained.spec.epochs, arrays, facts)
    with atomic_path(folder / FILE) as part:
        part.write_text(json.dumps(trained.document, indent=1, allow_nan=False) + "\n")


def load_trained(folder: Path, spec: TrainSpec, dataset: Dataset) -> Trained:
    """What `train_arch` left in a folder; raises `RunError` where it is damaged or of another training."""
    path = folder / FILE
    try:
        document = json.loads(path.read_text())
        if document["format"] != FORMAT:
            raise ValueError(f"it is not a {FORMAT}")
        found = {"specification": document["digest"], "data": document["data"]["sha256"]}
        rows = [[np.nan if x is None else float(x) for x in document["curves"][name]] for name in COLUMNS]
        curves = np.array(rows, dtype=np.float64).T
        seconds = {"seconds": float(document["seconds"]), "parameters": int(document["parameters"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({' '.join(str(error).split())[:100]}); remove it to train again") from error
    for what, value in (("specification", spec.digest), ("data", dataset.sha256)):
        if found[what] != value:
            raise RunError(f"{folder} holds a training of another {what}; choose another folder, or remove it")
    if curves.shape != (spec.epochs, len(COLUMNS)):
        raise RunError(f"{path} is damaged: its curves have shape {curves.shape}; remove it to train again")
    return Trained(spec, curves, {**document, **seconds})


def load_network(folder: Path, spec: TrainSpec, dataset: Dataset) -> Trainer:
    """The trained network of a folder, for predictions on other images; raises `RunError` as `load_trained` does."""
    facts = {"specification": spec.digest, "data": dataset.sha256}
    found = checkpoint.load(folder, WEIGHTS, facts)
    if found is None:
        raise RunError(f"{folder} holds no trained weights; train first")
    trainer = Trainer(spec, dataset)
    curves = load_trained(folder, spec, dataset).curves
    trainer.restore({**found.arrays, "curves": curves}, found.number)
    return trainer
