"""A batch's progress on disk: one HDF5 file, replaced atomically, so a kill loses at most the epochs since the last."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nasbench_sim.errors import RunError
from nasbench_sim.landscapes import LandscapeState
from nasbench_sim.runs.engine import Progress
from nasbench_sim.sealed import read_attribute, read_numbers, read_sealed, write_sealed
from nasbench_sim.searchers import State

KIND = "nasbench-sim checkpoint"
SCHEMA = 3
_MEND = "remove it to start that part again"


def save_checkpoint(path: Path, progress: Progress, *, digest: str, table_sha256: str) -> None:
    """Write `progress` of the run with this spec digest and table; raises `RunError` when it cannot be written."""
    with write_sealed(path, KIND) as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["spec"], file.attrs["table"] = np.bytes_(digest), np.bytes_(table_sha256)
        file.attrs["epoch"] = progress.epoch
        for name, array in flatten(progress).items():
            file.create_dataset(name, data=array, track_times=False)


def load_checkpoint(path: Path, *, digest: str, table_sha256: str) -> Progress:
    """Read it back; raises `RunError` for a damaged one, or one of another specification or table."""
    with read_sealed(path, KIND, error=RunError, mend=_MEND) as file:
        about = partial(read_attribute, file, where=str(path), error=RunError)
        schema = about("schema")
        if schema != SCHEMA:
            raise RunError(f"{path} has schema {schema}, this version reads {SCHEMA}; {_MEND}")
        table = about("table")
        if table != table_sha256:
            raise RunError(
                f"{path} was made on another table (sha256 {str(table)[:12]}..., not {table_sha256[:12]}...); open "
                "that table or choose another folder"
            )
        if about("spec") != digest:
            raise RunError(f"{path} was made for another specification; choose another folder")
        flat: dict[str, Any] = {}

        def keep(name: str, item: Any) -> None:  # hard links only; h5py follows no others here
            if isinstance(item, h5py.Dataset):
                flat[name] = read_numbers(file, name, where=str(path), error=RunError)

        file.visititems(keep)
        return unflatten(flat, int(about("epoch")))  # inside: an array that is missing is said to be


def unflatten(flat: Mapping[str, Any], epoch: int) -> Progress:
    """The progress after `epoch` epochs whose arrays `flatten` named; raises `KeyError` where one is missing."""
    state = State(**{k: flat[f"state/{k}"] for k in State._fields if k != "slots"}, slots=_group(flat, "state/slots"))
    known = {k: flat[f"shared/{k}"] for k in LandscapeState._fields if k != "extra"}
    shared = LandscapeState(**known, extra=_group(flat, "shared/extra"))
    return Progress(epoch, state, shared, _group(flat, "history"), _group(flat, "members"), flat["failed"])


def _group(flat: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(f"{prefix}/"): v for k, v in flat.items() if k.startswith(f"{prefix}/")}


def flatten(progress: Progress) -> dict[str, Any]:
    """Every array of a progress by its path in the file."""
    out: dict[str, Any] = {"failed": progress.failed}
    for name, value in progress.state._asdict().items():
        if name != "slots":
            out[f"state/{name}"] = value
    out |= {f"state/slots/{k}": v for k, v in progress.state.slots.items()}
    out |= {f"shared/{k}": v for k, v in progress.shared._asdict().items() if k != "extra"}
    out |= {f"shared/extra/{k}": v for k, v in progress.shared.extra.items()}
    out |= {f"history/{k}": v for k, v in progress.history.items()}
    out |= {f"members/{k}": v for k, v in progress.members.items()}
    return out
