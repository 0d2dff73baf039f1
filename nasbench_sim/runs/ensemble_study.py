"""Ensembles of five kinds, many times each: who the members are. Selection sees validation predictions only.

| method | a repetition is | members of an ensemble of k | networks trained |
|---|---|---|---|
| `random` | a pool of `pool` cells drawn without replacement | the first k drawn | k |
| `nes-rs` | the same pool | ForwardSelect by validation NLL (Zaidi et al., NeurIPS 2021) | pool |
| `deep` | the same pool | k seeds of the cell with the lowest NLL of those trained most often | pool + k - 1 |
| `nes-bs` | a search and a draw | best of 10 draws from its final distribution (Shu et al., UAI 2022) | <= 10 k |
| `nes-bs-svgd` | a search and a draw | the same with SVGD-RD particles | <= 10 k |
| `bpnas` | a search | its first k restarts, as they come (slides, ICML 2024 workshop) | <= k |

The methods are as their papers have them and cost unlike numbers of networks. The searches run on a table's landscape
(they are simulated) and end in cells; the cells' networks are those of the prediction file, and so are their scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nasbench_sim.ensembles.coverage import Coverage, coverage
from nasbench_sim.ensembles.greedy import TruthTable, select_pools, truth_table
from nasbench_sim.ensembles.posterior import Mode, PosteriorSample
from nasbench_sim.ensembles.predictions import Predictions
from nasbench_sim.ensembles.selection import check_selectable, draw_pools
from nasbench_sim.errors import NotMeasured, SpecError, unknown
from nasbench_sim.runs.record import Run

IntArray = npt.NDArray[np.int64]
MethodName = Literal["random", "nes-rs", "deep", "nes-bs", "nes-bs-svgd", "bpnas"]
METHODS: tuple[str, ...] = get_args(MethodName)
DEFAULT = tuple(name for name in METHODS if name != "nes-bs-svgd")  # SVGD takes ten times as long as all others
ROUNDS = 10  # draws of nes-bs, of which the best is kept
SEARCHED: Mapping[str, str] = {"nes-bs": "posterior", "nes-bs-svgd": "posterior", "bpnas": "bpnas"}
MOST_SIZE = 100


class StudySpec(BaseModel):
    """What is asked: `sizes` of ensembles, `repetitions` of the methods with a pool, models a `pool`, `methods`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sizes: tuple[int, ...] = tuple(range(1, 11))
    repetitions: int = Field(default=1000, ge=1, le=100_000)
    pool: int = Field(default=400, ge=1)
    methods: tuple[str, ...] = DEFAULT

    @field_validator("sizes")
    @classmethod
    def _sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if not sizes or min(sizes) < 1 or max(sizes) > MOST_SIZE or list(sizes) != sorted(set(sizes)):
            raise ValueError(f"sizes are different numbers 1..{MOST_SIZE} in rising order, got {list(sizes)}")
        return sizes

    @field_validator("methods")
    @classmethod
    def _methods(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        for name in methods:
            if name not in METHODS:
                raise ValueError(unknown("ensemble method", name, METHODS))
        if not methods or len(set(methods)) != len(methods):
            raise ValueError(f"methods are different names of {', '.join(METHODS)}")
        return methods


def make_study(**fields: Any) -> StudySpec:
    """A checked specification; raises `SpecError` with one line.

    >>> make_study(sizes=(1, 2), methods=("random",)).pool
    400
    """
    try:
        return StudySpec(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SpecError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error


class Members(NamedTuple):
    """The ensembles of one method.

    `sets`: size -> rows `[n, size]`. `nested`: smaller ones are the beginning of larger ones. `pooled`: repetition r
    has the pool r of the other pooled methods, so that they are compared in pairs. `asked`: repetitions or searches;
    `failed`: searches that diverged; `uncovered`: those with a member of which there are no predictions. `note`: what
    else a reader has to know, or nothing.
    """

    sets: Mapping[int, IntArray]
    nested: bool
    pooled: bool
    asked: int
    failed: int = 0
    uncovered: int = 0
    note: str = ""

    @property
    def n(self) -> int:
        """Ensembles of each size."""
        return len(next(iter(self.sets.values())))


def find_members(spec: StudySpec, valid: Predictions, runs: Mapping[str, Run]) -> dict[str, Members]:
    """The members that every method of `spec` takes, from validation predictions.

    `runs`: `bpnas`, a run with as many restarts as the largest size, and `posterior`, one with final distributions,
    where the methods need them. Raises `SpecError` for a run or pool that does not fit, `NotMeasured` where no search
    has members with predictions.
    """
    check_selectable(valid, "nll")
    known = coverage(valid)
    most = max(spec.sizes)
    out: dict[str, Members] = {}
    pools, table = None, None
    for name in spec.methods:
        if name in SEARCHED:
            if SEARCHED[name] not in runs:
                raise SpecError(f"{name} needs a run: {SEARCHED[name]}")
            run = runs[SEARCHED[name]]
            if name == "bpnas":
                out[name] = _restarts(spec, known, run)
            else:
                out[name] = _posterior(spec, valid, known, run, "mc" if name == "nes-bs" else "svgd")
            continue
        if pools is None or table is None:
            if not most <= spec.pool <= len(known.base):
                raise SpecError(
                    f"a pool of {spec.pool} from {len(known.base)} trained cells for ensembles of up to {most}: choose "
                    f"--pool {most}..{len(known.base)}"
                )
            pools = draw_pools(range(spec.repetitions), len(known.base), spec.pool)
            table = truth_table(valid.probabilities, valid.labels)
        if name == "random":
            out[name] = _nested(spec, known.base[pools[:, :most]], pooled=True)
        elif name == "nes-rs":
            chosen = select_pools(table, known.base[np.sort(pools, axis=1)], most).members
            out[name] = _nested(spec, chosen, pooled=True)
        else:
            out[name] = _deep(spec, known, table, pools)
    return out


def _nested(spec: StudySpec, members: IntArray, *, pooled: bool, asked: int | None = None, **rest: Any) -> Members:
    """Members `[n, K]` in their order: those of size k are the first k, for the sizes there are."""
    sets = {k: members[:, :k] for k in spec.sizes if k <= members.shape[1]}
    return Members(sets, True, pooled, len(members) if asked is None else asked, **rest)


def _deep(spec: StudySpec, known: Coverage, table: TruthTable, pools: IntArray) -> Members:
    """One cell, several training seeds: the best of the pool's cells among those that were trained most often."""
    count = np.array([len(rows) for rows in known.seeds])
    most = min(int(count.max()), max(spec.sizes))
    able = count >= most
    loss = np.where(able, table.alone[known.base], np.inf)[pools]
    there = np.isfinite(loss).any(axis=1)
    if not there.any():
        raise NotMeasured(f"no pool of {spec.pool} holds a cell with {most} training seeds; raise --pool")
    cells = pools[np.arange(len(pools)), loss.argmin(axis=1)][there]
    members = np.array([known.seeds[cell][:most] for cell in cells])
    if spec.sizes[0] > most:
        raise NotMeasured(f"no cell has {spec.sizes[0]} training seeds, only {most}; leave out the method deep")
    trained = f"{able.sum()} of {len(able)} cells have {most} training seed{'s' if most > 1 else ''}"
    note = f"{trained}; a pool's best of those, so sizes up to {most} only"
    rest: dict[str, Any] = {"asked": len(pools), "uncovered": int((~there).sum()), "note": note}
    return _nested(spec, members, pooled=bool(there.all()), **rest)


def _restarts(spec: StudySpec, known: Coverage, run: Run) -> Members:
    """The restarts of each BPNAS search; searches with a restart that failed or has no predictions are left out."""
    archs = run.members.get("archs")
    if archs is None or archs.shape[1] < max(spec.sizes):
        has = "none" if archs is None else str(archs.shape[1])
        raise SpecError(
            f"ensembles of {max(spec.sizes)} need a bpnas run with as many members, this one has {has}; "
            f"search with --set members={max(spec.sizes)}"
        )
    cells = archs[:, : max(spec.sizes)].astype(np.int64)
    rows = known.rows(cells)
    failed = (cells < 0).any(axis=(1, 2))
    lost = (rows < 0).any(axis=1) & ~failed
    kept = rows[~failed & ~lost]
    if not len(kept):
        raise NotMeasured(f"none of {len(rows)} bpnas searches has members with predictions; train their cells")
    distinct = float(np.mean([len(set(row.tolist())) for row in kept]))
    note = f"{distinct:.1f} different networks among {kept.shape[1]} restarts on average"
    rest: dict[str, Any] = {"asked": len(rows), "failed": int(failed.sum()), "uncovered": int(lost.sum()), "note": note}
    return _nested(spec, kept, pooled=False, **rest)


def _posterior(spec: StudySpec, valid: Predictions, known: Coverage, run: Run, mode: Mode) -> Members:
    """NES-BS from the final distribution of every search; one without mass on cells with predictions is left out."""
    if "theta" not in run.final_state:
        raise SpecError(f"the run of {run.spec.method} records no final distribution; take another method for nes-bs")
    theta = run.final_state["theta"].astype(np.float64)
    if theta.shape[1] != known.archs.shape[1]:
        raise SpecError(f"{run.spec.method} ran over {theta.shape[1]} decisions, the cells have {known.archs.shape[1]}")
    failed = run.failed
    alive = np.nonzero(~failed)[0]
    mass = np.array([_mass(known.archs, t) for t in theta[alive]])
    kept = alive[mass > 0]
    if not len(kept):
        raise NotMeasured(f"no {run.spec.method} search has probability on cells with predictions; train its cells")
    sets = {k: PosteriorSample(k, mode).select(valid, run.seeds[kept], theta[kept], known.groups) for k in spec.sizes}
    used = theta[kept]
    entropy = float(-(used * np.log(np.maximum(used, 1e-30))).sum(axis=2).mean())
    note = (
        f"final distributions of {run.spec.method}: {entropy:.2f} nats a decision, {100 * mass[mass > 0].mean():.1f} % "
        "of their probability on cells with predictions"
    )
    return Members(sets, False, False, len(theta), int(failed.sum()), len(alive) - len(kept), note)


def _mass(archs: IntArray, theta: npt.NDArray[np.float64]) -> float:
    """Probability `theta[D, K]` gives to `archs[A, D]`."""
    out = theta[0, archs[:, 0]].copy()
    for d in range(1, archs.shape[1]):
        out *= theta[d, archs[:, d]]
    return float(out.sum())


def networks(method: str, size: int, pool: int) -> int:
    """Networks trained (at most) for one ensemble of `size`; see the table of the module.

    >>> networks("nes-rs", 5, 400), networks("nes-bs", 5, 400), networks("bpnas", 5, 400)
    (400, 50, 5)
    """
    if method in ("nes-bs", "nes-bs-svgd"):
        return ROUNDS * size
    return {"nes-rs": pool, "deep": pool + size - 1}.get(method, size)


def needed_runs(methods: Sequence[str]) -> list[str]:
    """Which runs these methods need: `posterior`, `bpnas`, both or none.

    >>> needed_runs(["nes-bs", "nes-bs-svgd", "random"])
    ['posterior']
    """
    return list(dict.fromkeys(SEARCHED[name] for name in methods if name in SEARCHED))
