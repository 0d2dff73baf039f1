"""NES-BS with and without the choice of the best of ten rounds, by Monte Carlo and by SVGD-RD: test accuracy.

Run `python plots/nes_bs_rounds.py VALID.h5 TEST.h5 RUN` (about half a minute) with the predictions of
docs/nb201-mini.md and the folder `posterior` that its `ensemble-study` leaves. Prints mean +- 1.96 standard errors
over the searches, the test images held fixed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasbench_sim.ensembles import PosteriorSample, Predictions, coverage
from nasbench_sim.ensembles.metrics import accuracy, average
from nasbench_sim.errors import UserError
from nasbench_sim.runs.record import Run

Array = npt.NDArray[np.float64]


def said(values: Array) -> str:
    """Mean and 1.96 standard errors."""
    return f"{values.mean():.2f} +- {1.96 * values.std(ddof=1) / len(values) ** 0.5:.2f}"


def main(valid: Predictions, test: Predictions, run: Run) -> None:
    """Print one line a size; `run` records final distributions."""
    kept = ~run.failed
    theta, groups = run.final_state["theta"][kept].astype(np.float64), coverage(valid).groups

    def found(size: int, rounds: int, svgd: bool) -> Array:
        members = PosteriorSample(size, "svgd" if svgd else "mc", rounds).select(valid, run.seeds[kept], theta, groups)
        return np.array([accuracy(average(test.probabilities[row]), test.labels) for row in members])

    for size in (1, 3, 5, 10):
        once, best, particles = found(size, 1, False), found(size, 10, False), found(size, 1, True)
        print(
            f"{size}: one round {said(once)}, best of ten {said(best)}; SVGD-RD, one round {said(particles)}, ", end=""
        )
        print(f"more than independent draws by {said(particles - once)}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        print(
            "give three paths: validation predictions, test predictions, a run with final distributions",
            file=sys.stderr,
        )
        sys.exit(2)
    valid, test, run = map(Path, sys.argv[1:])
    try:
        main(Predictions.load(valid), Predictions.load(test), Run.load(run))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
