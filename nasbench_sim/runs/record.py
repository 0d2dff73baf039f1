"""What a run left: final cells, per-epoch history and everything needed to make it again. HDF5 + JSON, atomic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import RunError, UserError
from nasbench_sim.files import MAX_JSON, atomic_path, read_text, sha256_file
from nasbench_sim.runs.spec import RunSpec, make_spec
from nasbench_sim.sealed import read_numbers, read_sealed, write_sealed

FORMAT = "nasbench-sim-run"
KIND = "nasbench-sim record"
SCHEMA = 1
GROUPS = ("history", "members", "final_state", "failures")
_MEND = "run it again into another folder"
Array = npt.NDArray[Any]

#: what a run records at the end of every epoch: name -> (unit, meaning)
HISTORY: Mapping[str, tuple[str, str]] = {
    "loss": ("that of table['loss']", "mean search loss of the epoch, as the searcher saw it"),
    "skip_ratio": ("fraction of edges", "edges of the derived cell that are skip_connect"),
    "eigenvalue": ("1/alpha^2", "dominant eigenvalue max|lambda| of the Hessian of the search loss in alpha"),
    "entropy": ("nats", "mean entropy of the architecture distribution per decision"),
    "active_ops": ("operations", "operations that are not pruned, over all decisions"),
}


@dataclass(frozen=True)
class Run:
    """The record of `S` searches of one method.

    Attributes
    ----------
    spec: the specification.
    table: what it ran on: name, sha256, remark, search_key, report_keys, best (the optimum by role), and `loss`:
        what the search loss is, with its unit.
    seeds: int64 `[S]`.
    archs: int64 `[S, D]`, the derived cell of each seed after the last epoch.
    history: name -> float `[S, E]` for the names of `HISTORY`, plus `archs` int8 `[S, E, D]` and, for every role
        (`valid`, `test`) the true accuracy of the derived cell by epoch, percent, `[S, E]`. A quantity that a method
        does not have (the Hessian of random sampling) is NaN throughout.
    members: method-specific arrays with leading axis S (ensemble members of BPNAS), may be empty.
    final_state: `theta` `[S, D, K]`, the architecture distribution after the last epoch (not where restarts of an
        ensemble came after it); of a black-box search every evaluation, see `EvaluationBatch.final_state`. On a table
        with predictions also `measured` bool `[S]`: whether the final cell's accuracy is a measurement.
    failures: `seed`, `epoch` `[F]` and `alpha` `[F, D, K]` of the searches that diverged, as they were then.
    method: registry entry as plain data (paper, equation, deviations, unknowns).
    seconds: wall-clock seconds the searches took (compute only).
    versions: nasbench_sim, numpy, scipy, python, platform.
    """

    spec: RunSpec
    table: Mapping[str, Any]
    seeds: npt.NDArray[np.int64]
    archs: npt.NDArray[np.int64]
    history: Mapping[str, Array]
    members: Mapping[str, Array] = field(default_factory=dict)
    final_state: Mapping[str, Array] = field(default_factory=dict)
    failures: Mapping[str, Array] = field(default_factory=dict)
    method: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = float("nan")
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Epochs run."""
        return int(self.history["loss"].shape[1])

    @property
    def failed(self) -> npt.NDArray[np.bool_]:
        """bool `[S]`: searches that diverged; their state at that epoch is in `failures`."""
        return np.isin(self.seeds, self.failures.get("seed", np.empty(0, dtype=np.int64)))

    def final(self, role: str) -> Array:
        """True accuracy `[S]` in percent of the final derived cells, NaN where the search failed; `valid` or `test`."""
        if role not in self.table["report_keys"]:
            raise RunError(f"this run has no {role!r} accuracy; it has {', '.join(self.table['report_keys'])}")
        return np.asarray(self.history[role][:, -1])

    def summary(self) -> dict[str, Any]:
        """Mean, sd (n-1) of the final accuracies by role over the searches that did not fail, n and how many failed.

        Mean and sd are None where all failed. With the table's remark; on a table with predictions also `measured`, the
        share of those searches whose final cell was measured.
        """
        out: dict[str, Any] = {
            "method": self.spec.method,
            "dataset": self.spec.dataset,
            "landscape": self.spec.landscape,
            "table": self.table["name"],
            "n": len(self.seeds),
            "failed": int(self.failed.sum()),
        }
        for role in self.table["report_keys"]:
            values = self.final(role)[~self.failed].astype(np.float64)
            sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            out[role] = {"mean": float(values.mean()), "sd": sd} if len(values) else {"mean": None, "sd": None}
        if "measured" in self.final_state:
            measured = self.final_state["measured"][~self.failed]
            out["measured"] = float(measured.mean()) if len(measured) else None
        out["remark"] = self.table.get("remark", "")
        return out

    def save(self, folder: Path | str) -> Path:
        """Write `record.h5` then `run.json` (which names the record's sha256) into `folder`; returns the folder."""
        folder = Path(folder)
        with write_sealed(folder / "record.h5", KIND) as file:
            file.attrs["schema"] = SCHEMA
            arrays = {"seeds": self.seeds, "archs": self.archs}
            for group in GROUPS:
                arrays |= {f"{group}/{name}": values for name, values in getattr(self, group).items()}
            for name, values in arrays.items():
                filters = {"chunks": True, "fletcher32": True, "compression": "gzip", "shuffle": True}
                file.create_dataset(name, data=values, track_times=False, **(filters if values.size else {}))
        meta = {
            "format": FORMAT,
            "schema": SCHEMA,
            "spec": json.loads(self.spec.model_dump_json()),
            "spec_digest": self.spec.digest,
            "table": dict(self.table),
            "method": dict(self.method),
            "seconds": self.seconds,
            "versions": dict(self.versions),
            "summary": self.summary(),
            "record_sha256": sha256_file(folder / "record.h5"),
        }
        with atomic_path(folder / "run.json") as part:
            part.write_text(json.dumps({**meta, "sha256": _digest(meta)}, indent=1) + "\n")
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> Run:
        """Read a record; raises `RunError` for a missing, damaged or foreign one."""
        folder = Path(folder)
        try:
            meta = json.loads(read_text(folder / "run.json", MAX_JSON))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunError(f"{folder} holds no finished run (no run.json); give the folder of a run") from error
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{folder / 'run.json'} cannot be read: {error}") from error
        if not isinstance(meta, dict) or meta.get("format") != FORMAT or meta.get("schema") != SCHEMA:
            raise RunError(f"{folder / 'run.json'} is not a {FORMAT} of schema {SCHEMA}")
        if meta.pop("sha256", None) != _digest(meta):
            raise RunError(f"{folder / 'run.json'} was changed after it was written (its sha256 differs); {_MEND}")
        path = folder / "record.h5"
        if not path.is_file() or sha256_file(path) != meta.get("record_sha256"):
            raise RunError(f"{path} is not the file that run.json was written for (sha256 differs); {_MEND}")
        try:
            return cls._of(meta, path)
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # facts made by hand, with a fitting sum
            if isinstance(error, UserError):
                raise
            raise RunError(f"{folder / 'run.json'} lacks what a record has ({error!r:.120}); {_MEND}") from error

    @classmethod
    def _of(cls, meta: Mapping[str, Any], path: Path) -> Run:
        spec = make_spec(**{**meta["spec"], "seeds": tuple(meta["spec"]["seeds"])})
        roles = [*dict(meta["table"])["report_keys"]]
        if not isinstance(meta["table"]["name"], str) or not all(
            isinstance(meta[k], dict) for k in ("method", "versions")
        ):
            raise TypeError("a name or a mapping is something else")
        with read_sealed(path, KIND, error=RunError, mend=_MEND) as file:
            arrays = {g: _arrays(file, g, str(path)) for g in GROUPS}
            seeds, archs = (read_numbers(file, name, where=str(path), error=RunError) for name in ("seeds", "archs"))
        _check_shapes(roles, seeds, archs, arrays["history"], str(path))
        return cls(
            spec=spec,
            table=meta["table"],
            seeds=seeds,
            archs=archs,
            history=arrays["history"],
            members=arrays["members"],
            final_state=arrays["final_state"],
            failures=arrays["failures"],
            method=meta["method"],
            seconds=float(meta["seconds"]),
            versions=meta["versions"],
        )


def _arrays(file: h5py.File, group: str, where: str) -> dict[str, Array]:
    """The arrays of a group by name; none where there is no such group."""
    if group not in file:
        return {}
    return {name: read_numbers(file[group], name, where=where, error=RunError) for name in file[group]}


def _check_shapes(roles: list[str], seeds: Array, archs: Array, history: Mapping[str, Array], where: str) -> None:
    """Raise `RunError` unless everything that a run is asked for is there, for the same searches and epochs."""
    wanted = ["loss", *roles]
    absent = [name for name in wanted if name not in history]
    if absent:
        raise RunError(f"{where}: has no history of {absent[0]}; {_MEND}")
    grid = history["loss"].shape
    fits = len(grid) == 2 and grid[1] > 0 and all(history[name].shape == grid for name in wanted)
    if not fits or seeds.shape != grid[:1] or archs.ndim != 2 or len(archs) != grid[0]:
        raise RunError(f"{where}: its arrays are not of the same searches and epochs; {_MEND}")


def _digest(meta: Mapping[str, Any]) -> str:
    """sha256 of a record's facts, whatever their order and blanks."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
