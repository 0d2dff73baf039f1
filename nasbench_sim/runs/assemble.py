"""From the finished parts of a run to its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.runs.engine import Progress
from nasbench_sim.runs.problem import versions
from nasbench_sim.runs.record import Run
from nasbench_sim.runs.spec import RunSpec
from nasbench_sim.searchers import get_method


class Finished(Protocol):
    """What a batch says of its end."""

    def final_state(self, progresses: Sequence[Progress]) -> dict[str, npt.NDArray[Any]]:
        """What a record keeps beside history and cells."""


def assemble(
    spec: RunSpec, about: Mapping[str, Any], progresses: Sequence[Progress], batch: Finished, *, seconds: float
) -> Run:
    """The record of a run from the last progress of each of its parts, in the order of the seeds.

    `about`: what the run was made on, see `Run.table`; `seconds`: computing time.
    """
    history = {name: np.concatenate([p.history[name] for p in progresses]) for name in progresses[0].history}
    members = {name: np.concatenate([p.members[name] for p in progresses]) for name in progresses[0].members}
    failed = np.concatenate([p.failed for p in progresses])
    seeds = np.array(spec.seeds, dtype=np.int64)
    alpha = np.concatenate([p.state.alpha[: len(p.failed)][p.failed >= 0] for p in progresses])
    return Run(
        spec=spec,
        table=about,
        seeds=seeds,
        archs=history["archs"][:, -1].astype(np.int64),
        history=history,
        members=members,
        final_state=batch.final_state(progresses),
        failures={"seed": seeds[failed >= 0], "epoch": failed[failed >= 0], "alpha": alpha},
        method=get_method(spec.method).card(),
        seconds=seconds,
        versions=versions(),
    )
