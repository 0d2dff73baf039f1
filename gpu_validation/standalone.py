"""A pool of networks trained alone, and their predictions: what ensembles are selected from.

    FOLDER/003621-777/         one folder a member (official index - training seed), see `gpu_validation.train`
    FOLDER/predictions-*.h5    all members' predictions on the validation and the test split

Members that are finished are skipped, one that was stopped goes on, one that diverges is left out and named. The files
go through `nasbench_sim.ensembles` as any predictions do: NES-RS and NES-BS select from the pool; for the restarts of
BPNAS, train `member_archs(run)` and ask `ensemble_accuracy(run, predictions)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from gpu_validation.data import Dataset
from gpu_validation.predictions import SPLITS, Split, joined
from gpu_validation.train import Trained, train_arch
from gpu_validation.training import TrainSpec, make_train_spec
from gpu_validation.training.loop import NotFinite
from nasbench_sim.ensembles import Predictions
from nasbench_sim.errors import RunError, SpecError

#: called after every epoch: members finished, members in all, the one in work, its epochs done, its last `COLUMNS`
OnTick = Callable[[int, int, TrainSpec, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Pool:
    """What came of a pool: its trained members in order, predictions a split, and a line for each that diverged."""

    members: tuple[Trained, ...]
    predictions: Mapping[Split, Predictions]
    failed: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """Members and their last accuracies, ready for JSON."""
        return {"members": [member.summary() for member in self.members], "failed": list(self.failed)}


def pool_specs(
    archs: Sequence[str | int | npt.ArrayLike], seeds: Sequence[int], protocol: str = "short", **values: Any
) -> list[TrainSpec]:
    """Every cell with every training seed; a cell given twice is taken once, since it would be the same network.

    Raises `SpecError` and `ArchError` as `make_train_spec`, and where nothing is given.

    >>> [spec.index for spec in pool_specs([9930, 6111, "9930"], [777])]
    [9930, 6111]
    """
    specs = [make_train_spec(arch, protocol, seed=seed, **values) for arch in archs for seed in seeds]
    if not specs:
        raise SpecError("a pool has at least one cell and one training seed")
    return list({(spec.arch, spec.seed): spec for spec in specs}.values())


def member_folder(folder: Path, spec: TrainSpec) -> Path:
    """Where a member of the pool in `folder` is kept."""
    return folder / f"{spec.index:06d}-{spec.seed}"


def train_pool(specs: Sequence[TrainSpec], dataset: Dataset, folder: Path, *, on_tick: OnTick | None = None) -> Pool:
    """Train all members one after another into `folder` and join their predictions.

    Raises `RunError` for members of another specification in the folder, and where every member diverged.
    """
    members: list[Trained] = []
    failed: list[str] = []
    for number, spec in enumerate(specs):

        def on_epoch(done: int, total: int, row: Mapping[str, float], number: int = number, spec: Any = spec) -> None:
            if on_tick is not None:
                on_tick(number, len(specs), spec, done, row)

        try:
            members.append(train_arch(spec, dataset, member_folder(folder, spec), resume=True, on_epoch=on_epoch))
        except NotFinite as error:
            failed.append(f"{spec.name} (index {spec.index}, seed {spec.seed}): {error}")
    if not members:
        raise RunError(f"no network of the pool could be trained: {failed[0]}")
    predictions: dict[Split, Predictions] = {}
    for split in SPLITS:
        file = f"predictions-{split}.h5"
        predictions[split] = joined([Predictions.load(member_folder(folder, m.spec) / file) for m in members])
        predictions[split].save(folder / file)
    return Pool(tuple(members), predictions, tuple(failed))
