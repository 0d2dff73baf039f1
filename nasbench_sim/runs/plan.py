"""The folder of a run: what was asked, on which table, in which parts; so that it can be resumed or refused."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.files import MAX_JSON, atomic_path, read_text
from nasbench_sim.runs.spec import RunSpec, make_spec
from nasbench_sim.searchers import get_method

PLAN = "plan.json"
FORMAT = "nasbench-sim-plan"


class Plan(NamedTuple):
    """A run's specification, its table and how its seeds are cut into parts (`[start, stop)` into `spec.seeds`)."""

    spec: RunSpec
    table_sha256: str
    parts: tuple[tuple[int, int], ...]

    def checkpoint(self, folder: Path, part: int) -> Path:
        """Where part number `part` keeps its progress."""
        return folder / "checkpoints" / f"part-{part:04d}.h5"


MOST = 2000  # seeds a part: the noise of a step block is 16 KB a seed and purpose, so memory stays below 200 MB


TRAINED = 120  # cells that 12,000 simulated seconds train for 12 epochs, the budget of the papers
SHARED = 1.4  # a step there against one on the exact landscape, see test_one_step of tests/benchmarks


def make_parts(seeds: int, workers: int, least: int = 64) -> tuple[tuple[int, int], ...]:
    """Cut `seeds` into about `workers` equal parts of at least `least` (small batches waste the vector units).

    No part has more than `MOST` seeds, so that memory does not grow with the number of seeds.

    >>> make_parts(1000, 2), make_parts(100, 2), make_parts(5, 8)
    (((0, 500), (500, 1000)), ((0, 100),), ((0, 5),))
    """
    n = max(1, min(workers, seeds // least), -(-seeds // MOST))
    edges = np.linspace(0, seeds, n + 1).astype(int).tolist()
    return tuple(pairwise(edges))


def open_folder(folder: Path, plan: Plan, *, resume: bool, overwrite: bool) -> Plan:
    """Claim `folder` for `plan`, or take up the plan that is already there.

    Raises `RunError` for a folder that holds another run, a finished one, or anything that is not ours; nothing is
    deleted unless `overwrite`, and then only the files of a run.
    """
    existing = folder / PLAN
    if (folder / "run.json").exists() and not overwrite:
        raise RunError(f"{folder} already holds a finished run; choose another folder, or --overwrite to replace it")
    if existing.exists() and not overwrite:
        old = read_plan(folder)
        if old.spec != plan.spec:
            raise RunError(f"{folder} holds an unfinished run of another specification; choose another folder")
        if old.table_sha256 != plan.table_sha256:
            raise RunError(
                f"{folder} holds a run on another table (sha256 {old.table_sha256[:12]}..., this one is "
                f"{plan.table_sha256[:12]}...); open that table or choose another folder"
            )
        if not resume:
            raise RunError(f"{folder} holds an unfinished run; continue it with --resume, or choose another folder")
        return old
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not existing.exists() and not (folder / "run.json").exists():
        raise RunError(f"{folder} is not empty and holds no run of ours; choose an empty or new folder")
    if resume and not existing.exists():
        raise RunError(f"{folder} holds no unfinished run to resume; leave --resume away to start one")
    try:
        clear(folder)
    except OSError as error:  # a file where a folder should be, or a folder of somebody else
        raise RunError(f"cannot write {folder}: {error.strerror}; choose a folder you can write to") from error
    text = json.dumps(
        {
            "format": FORMAT,
            "spec": json.loads(plan.spec.model_dump_json()),
            "table_sha256": plan.table_sha256,
            "parts": plan.parts,
        }
    )
    with atomic_path(existing) as part:
        part.write_text(text + "\n")
    return plan


def read_plan(folder: Path) -> Plan:
    """The plan of a folder; raises `RunError` when it cannot be read."""
    path = folder / PLAN
    try:
        data = json.loads(read_text(path, MAX_JSON))
        if data["format"] != FORMAT:
            raise RunError(f"{path} is not a {FORMAT}")
        spec = make_spec(**{**data["spec"], "seeds": tuple(data["spec"]["seeds"])})
        parts = tuple((int(a), int(b)) for a, b in data["parts"])
        edges = [0, *(stop for _, stop in parts)]
        if tuple(pairwise(edges)) != parts or sorted(set(edges)) != edges or edges[-1] != len(spec.seeds):
            raise RunError(f"{path} is damaged: its parts do not hold each seed once; start again with --overwrite")
        return Plan(spec, str(data["table_sha256"]), parts)
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no run ({PLAN} is missing)") from error
    except (OSError, KeyError, TypeError, ValueError, SpecError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); start again in another folder, or with --overwrite") from error


def clear(folder: Path) -> None:
    """Remove the files of a run, and only those."""
    for name in ("run.json", "record.h5"):
        (folder / name).unlink(missing_ok=True)
    clear_checkpoints(folder)


def clear_checkpoints(folder: Path) -> None:
    """Remove the plan and the checkpoints, also half-written ones of a killed process."""
    for path in (folder / "checkpoints").glob("*part-*.h5*"):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or somebody keeps something in it
        (folder / "checkpoints").rmdir()
    (folder / PLAN).unlink(missing_ok=True)


def in_good_order(specs: list[RunSpec]) -> list[RunSpec]:
    """The cheapest first: something is on the screen soon; then the dearest first: the cores end together."""
    by_work = sorted(specs, key=work_of)
    return by_work[:1] + by_work[:0:-1]


def work_of(spec: RunSpec) -> float:
    """Relative time of a run: seeds x steps x its method's declared work, more on the weight-sharing landscape.

    A black-box search has evaluations for steps: `TRAINED` of them. Orders runs and shares out processes; decides no
    number.
    """
    work = get_method(spec.method).work * len(spec.seeds)
    if spec.landscape == "evaluations":
        return TRAINED * work
    return work * spec.epochs * spec.steps_per_epoch * (SHARED if spec.landscape == "shared" else 1.0)
