"""One-shot against stand-alone: how well the shared weights of a search rank cells, and how that changes by epoch.

The record of a run has no shared weights, but a search is a pure function of its specification and seed. So the first
seeds are searched again, bit for bit as they were, and a sample of cells is scored under their weights epoch by epoch.

Source: Zela, Siems and Hutter, NAS-Bench-1Shot1, ICLR 2020 (arXiv 2001.10422), section 4: Spearman correlations of
-0.25 to 0.3 on its third space. What is drawn here are losses of the weight-sharing *model*: its correlation is an
outcome of the parameters it was given, no measurement of a supernet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nasbench_sim.errors import RunError, SpecError, unknown
from nasbench_sim.landscapes.penalised import PenalisedLandscape
from nasbench_sim.reporting.canvas import MEAN_NOTE, Cell, Sheet, dress, sheet
from nasbench_sim.reporting.series import FloatArray, bands, check_table, panel_of
from nasbench_sim.reporting.style import COLOURS, axis_label, style
from nasbench_sim.runs.engine import Batch
from nasbench_sim.runs.record import Run
from nasbench_sim.tables.table import Table


class OneShot(NamedTuple):
    """Scores of M cells under the shared weights of S searches, over E epochs.

    `cells` int64 `[M]` official indices; `stand_alone` `[M]` percent; `loss` `[S, M]` after the last epoch, modelled
    nats; `spearman` and `kendall` (tau-b) `[S, E]`: rank correlation of -loss with the stand-alone accuracy, NaN where
    all losses are equal.
    """

    cells: npt.NDArray[np.int64]
    stand_alone: FloatArray
    loss: FloatArray
    spearman: FloatArray
    kendall: FloatArray


def one_shot(run: Run, table: Table, *, cells: int = 500, seeds: int = 4, role: str | None = None) -> OneShot:
    """Score `cells` uniform architectures under the shared weights of the run's first `seeds` searches that ended.

    Losses are those of discrete cells without the noise of a mini-batch (a whole validation set), before any penalty.
    `role`: which stand-alone accuracy, `valid` or `test`; default the first that the table reports. Of a table with
    predictions only measured cells are drawn.
    Takes the time of searching so few seeds again.

    Raises `RunError` for a run without shared weights (another landscape), of another table, or without a search that
    ended, and `SpecError` for an unknown role or impossible numbers.

    >>> import nasbench_sim as nb
    >>> table = nb.open_table("nb201-analog")
    >>> run = nb.search("rsps", table=table, dataset="cifar10", seeds=2, epochs=2, steps_per_epoch=20)
    >>> seen = one_shot(run, table, cells=50)
    >>> seen.loss.shape, seen.spearman.shape
    ((2, 50), (2, 2))
    """
    from scipy.stats import kendalltau, spearmanr  # which the other figures do not need

    some, accuracy = _checked(run, table, cells, seeds, _role(table, run, role))
    batch = Batch(run.spec, table, run.seeds[some])
    land = batch.landscape.bare if isinstance(batch.landscape, PenalisedLandscape) else batch.landscape
    sample = np.flatnonzero(~np.isnan(accuracy))
    random = np.random.Generator(np.random.Philox(key=0))  # one sample for all runs of a space
    sample = np.sort(random.choice(sample, size=min(cells, len(sample)), replace=False))
    truth = accuracy[sample].astype(np.float64)
    archs = np.repeat(table.space.at(sample)[None], len(some), axis=0)
    progress, rank, tau = batch.start(), [], []
    for _ in range(run.spec.epochs):
        progress = batch.advance(progress)
        loss = land.arch_loss(progress.shared, archs).astype(np.float64)
        rank.append([correlation(spearmanr, row, truth) for row in loss])
        tau.append([correlation(kendalltau, row, truth) for row in loss])
    return OneShot(sample, truth, loss, np.array(rank).T, np.array(tau).T)


def _role(table: Table, run: Run, role: str | None) -> str:
    """The role asked for, or the first that the table reports."""
    return next(iter(table.report_keys_for(run.spec.dataset))) if role is None else role


def correlation(statistic: object, loss: FloatArray, truth: FloatArray) -> float:
    """Rank correlation of -loss and truth, NaN where either is constant."""
    if np.ptp(loss) == 0 or np.ptp(truth) == 0:
        return float("nan")
    return float(statistic(-loss, truth).statistic)  # type: ignore[operator]


def _checked(run: Run, table: Table, cells: int, seeds: int, role: str) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Rows of the searches to repeat, and the stand-alone accuracies `[A]`, NaN where not measured."""
    if run.spec.landscape != "shared":
        raise RunError(
            f"a run on landscape {run.spec.landscape!r} has no shared weights to score cells with; give one on 'shared'"
        )
    check_table(run, table)
    if cells < 3 or seeds < 1:
        raise SpecError(f"a correlation needs at least 3 cells and 1 seed, got {cells} and {seeds}")
    keys = table.report_keys_for(run.spec.dataset)
    if role not in keys:
        raise SpecError(unknown("role", role, keys))
    some = np.flatnonzero(~run.failed)[:seeds]
    if not len(some):
        raise RunError("every search of this run failed; there are no shared weights to score cells with")
    there = table.measured(**keys[role]._asdict())
    if there.sum() < 3:
        raise RunError(f"table {table.name}: {keys[role]} was measured for {there.sum()} cells, too few to rank")
    return some, np.where(there, table.accuracy[keys[role]], np.nan)


def plot_one_shot(
    run: Run, table: Table, *, cells: int = 500, seeds: int = 4, role: str | None = None, figure: Figure | None = None
) -> Figure:
    """One-shot loss against stand-alone accuracy after the last epoch, and their rank correlation by epoch.

    Left: every cell of the sample under the first seed's weights, better ones up and to the right. Right: mean over
    seeds of Spearman and Kendall, with the 25-75 % band. `role`: default the first that the table reports. Raises as
    `one_shot`.
    """
    role = _role(table, run, role)
    seen = one_shot(run, table, cells=cells, seeds=seeds, role=role)
    with style():
        page = sheet([run], figure)
        panel = panel_of(run)
        scatter, curve = page.grid([Cell(panel, "one-shot"), Cell(panel, "correlation")])
        for ax in (scatter, curve):
            dress(ax, Cell(panel, role), width=46)
        _scatter(scatter, page, seen, role)
        _by_epoch(curve, seen)
        last = f"After the last epoch: Spearman {_spread(seen.spearman)}, Kendall {_spread(seen.kendall)}"
        what = f"{len(seen.cells)} uniform cells under the shared weights of {len(seen.loss)} searches."
        note = "Left: first seed. The losses are those of the weight-sharing model, not of a trained supernet."
        return page.finish((f"{what} {last} (mean ± sd over seeds). {note} Right: {MEAN_NOTE}",))


def _scatter(ax: Axes, page: Sheet, seen: OneShot, role: str) -> None:
    look = page.looks[page.names[0]]
    dots: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 2.2, "markeredgewidth": 0, "alpha": 0.5}
    ax.plot(seen.stand_alone, seen.loss[0], color=look.colour, label="_cells", **dots)
    ax.invert_yaxis()  # less loss is better: good cells stand up and to the right
    ax.set_xlabel(f"stand-alone {axis_label(role)}")
    ax.set_ylabel("one-shot loss (modelled nats)")
    page.used[page.names[0]] = Line2D([], [], color=look.colour, marker="o", linestyle="none")


def _by_epoch(ax: Axes, seen: OneShot) -> None:
    x = np.arange(1, seen.spearman.shape[1] + 1)
    for name, values, look in (("Spearman", seen.spearman, "o"), ("Kendall", seen.kendall, "s")):
        b, colour = bands(values), COLOURS[1 + (name == "Kendall")]
        ax.fill_between(x, b.low, b.high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(x, b.mean, color=colour, marker=look, markevery=max(1, len(x) // 6), label=name)
    ax.legend(loc="best")
    ax.axhline(0, color="#999999", linewidth=0.7)
    ax.set_ylabel("rank correlation (unitless)")


def _spread(values: FloatArray) -> str:
    """Mean ± sd (n-1) over seeds after the last epoch."""
    last = values[:, -1]
    sd = f" ± {last.std(ddof=1):.3f}" if len(last) > 1 else ""
    return f"{last.mean():.3f}{sd}"
