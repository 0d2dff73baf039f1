"""Looking at it: figures, published numbers beside ours, and one self-contained page.

Everything here takes finished `Run` records and changes nothing in them.
"""

from nasbench_sim.reporting.compare import compare
from nasbench_sim.reporting.comparison import Comparison, ComparisonRow
from nasbench_sim.reporting.figures import (
    plot_convergence,
    plot_eigenvalue,
    plot_entropy,
    plot_pruning,
    plot_skip_ratio,
)
from nasbench_sim.reporting.gallery import FIGURES, MORE_FIGURES, FigureKind, figure_kind, inline_svg, save_figure
from nasbench_sim.reporting.html import write_report
from nasbench_sim.reporting.one_shot import OneShot, one_shot, plot_one_shot
from nasbench_sim.reporting.outcomes import plot_final
from nasbench_sim.reporting.published import PublishedRow, all_rows, published_rows
from nasbench_sim.reporting.regret import plot_regret, regret

__all__ = [
    "FIGURES",
    "MORE_FIGURES",
    "Comparison",
    "ComparisonRow",
    "FigureKind",
    "OneShot",
    "PublishedRow",
    "all_rows",
    "compare",
    "figure_kind",
    "inline_svg",
    "one_shot",
    "plot_convergence",
    "plot_eigenvalue",
    "plot_entropy",
    "plot_final",
    "plot_one_shot",
    "plot_pruning",
    "plot_regret",
    "plot_skip_ratio",
    "published_rows",
    "regret",
    "save_figure",
    "write_report",
]
