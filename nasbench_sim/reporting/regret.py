"""The figure of regret: how far the derived cell is from the best of its table, by epoch or by simulated time.

    regret = accuracy of the table's best cell - accuracy of the derived cell      in points of accuracy (%)

Source: the anytime figures of Zela, Siems and Hutter, NAS-Bench-1Shot1, ICLR 2020 (arXiv 2001.10422), sections 4 and 5,
whose regrets are of errors: the same difference. Deviation: median and quantiles over seeds, there mean and sd.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nasbench_sim.errors import RunError
from nasbench_sim.reporting.canvas import Cell, best_of, dress, log_axis, message, sheet
from nasbench_sim.reporting.series import FloatArray, history, roles
from nasbench_sim.reporting.style import axis_label, style
from nasbench_sim.runs.record import Run

FLOOR = 0.01  # points: a regret of 0 has no place on a logarithmic axis
NAMES = {"valid": "validation", "test": "test"}


def regret(run: Run, role: str) -> FloatArray | None:
    """Regret `[S, E]` in points of accuracy (%), NaN where a search had no cell or failed; None where not recorded.

    `role` is an accuracy that the run reports (`valid`, `test`); its best cell is that of the same role, so validation
    and test never mix. On a partial table the best is that of the measured cells, on a completed one it may be
    predicted. Raises `RunError` for a role that the run does not report.

    >>> import nasbench_sim as nb
    >>> run = nb.search("darts", table=nb.open_table("nb201-analog"), dataset="cifar10", landscape="tabular",
    ...                 seeds=2, epochs=2, steps_per_epoch=20)
    >>> bool((regret(run, "accuracy") >= 0).all())
    True
    """
    if role not in run.table["report_keys"]:
        raise RunError(f"this run has no {role!r} accuracy; it has {', '.join(run.table['report_keys'])}")
    best, values = best_of(run, role), history(run, role)
    if best is None or values is None:
        return None
    return np.maximum(best - values, 0.0)  # the record rounds its best to 4 decimals


def plot_regret(runs: Sequence[Run], figure: Figure | None = None) -> Figure:
    """Regret of the derived cell by epoch (black-box searches: by simulated seconds), logarithmic.

    One panel a landscape and accuracy role: median and bands over seeds. Regrets below 0.01 points stand at 0.01.
    Raises `RunError` for no runs.
    """
    with style():
        page = sheet(runs, figure)
        cells = [
            Cell(panel, role) for panel, members in page.members.items() for role in roles([runs[i] for i in members])
        ]
        completed = False
        for ax, cell in zip(page.grid(cells), cells, strict=True):
            dress(ax, cell, width=46)  # names of completed tables are long
            ax.set_ylabel(f"{NAMES.get(cell.quantity, cell.quantity)} regret (%)")
            if cell.panel.landscape == "evaluations":
                ax.set_xlabel(_clock([runs[i] for i in page.members[cell.panel]]))
            drawn = 0
            for i in page.members[cell.panel]:
                key = runs[i].table["report_keys"].get(cell.quantity)
                values = None if key is None else regret(runs[i], cell.quantity)
                if values is not None:
                    page.draw_line(ax, i, np.maximum(values, FLOOR))
                    drawn += 1
                    completed |= key[-1] == "completed"
            if drawn:
                log_axis(ax)
            else:
                message(ax, "No accuracy of a cell in any of these runs.")
        note = "Regret: best cell of the table minus derived cell, same split; below 0.01 drawn at 0.01."
        predicted = "Regrets of cells that were not measured are predictions." if completed else ""
        return page.finish((f"{page.bands_note} {note} {predicted}",))


def _clock(runs: Sequence[Run]) -> str:
    """What black-box searches pay with: simulated seconds, or evaluations where they count those."""
    counted = {run.spec.landscape_params.get("cost") == "evaluations" for run in runs}
    return (
        axis_label("seconds") if counted == {False} else "evaluations" if counted == {True} else "seconds, evaluations"
    )
