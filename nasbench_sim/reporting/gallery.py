"""All figures by name, and how they leave the program: SVG, PNG and PDF files, and SVG for inlining in a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from matplotlib.figure import Figure

from nasbench_sim.errors import RunError, unknown
from nasbench_sim.files import atomic_path
from nasbench_sim.reporting.figures import (
    plot_convergence,
    plot_eigenvalue,
    plot_entropy,
    plot_pruning,
    plot_skip_ratio,
)
from nasbench_sim.reporting.outcomes import plot_final
from nasbench_sim.reporting.regret import plot_regret
from nasbench_sim.reporting.style import style
from nasbench_sim.runs.record import Run

#: no dates and no program names in files, so that equal runs give equal bytes
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_METADATA_BLOCK = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_SVG_TAG = re.compile(r"<svg\b[^>]*>")
_VIEW_BOX = re.compile(r'viewBox="[\d. ]+"')
_ID = re.compile(r'(\bid="|href="#|url\(#)')
_COORDINATES = re.compile(r'(\b(?:d|x|y)=")([^"]*)"')
_NUMBER = re.compile(r"\d+\.\d{3,}")


#: the figure of `plot` that needs a table beside a run (`reporting.one_shot`)
ONE_SHOT = "one_shot"


class FigureKind(NamedTuple):
    """A figure that a report holds: name of its file, title, function, and what a reader sees in it."""

    name: str
    title: str
    draw: Callable[[Sequence[Run]], Figure]
    caption: str


FIGURES = (
    FigureKind(
        "convergence",
        "Accuracy of the derived cell",
        plot_convergence,
        "True accuracy, looked up in the table, of the cell that would be derived after each epoch.",
    ),
    FigureKind(
        "final",
        "Where the searches ended",
        plot_final,
        "True accuracy of the cell derived after the last epoch, over all seeds.",
    ),
    FigureKind(
        "skip_ratio",
        "Skip connections",
        plot_skip_ratio,
        "Share of the derived cell's edges that are skip connections; 1 is the collapsed cell.",
    ),
    FigureKind(
        "eigenvalue",
        "Dominant Hessian eigenvalue",
        plot_eigenvalue,
        "Largest absolute eigenvalue of the Hessian of the search loss in the architecture parameters.",
    ),
    FigureKind(
        "entropy",
        "Entropy of the architecture distribution",
        plot_entropy,
        "Mean entropy per decision; 0 is a settled cell.",
    ),
    FigureKind(
        "pruning",
        "Pruning",
        plot_pruning,
        "Operations that are not pruned yet, over all decisions, for the runs that prune.",
    ),
)

#: figures that `plot` knows and a page does not hold: they show the numbers of another figure in another way
MORE_FIGURES = (
    FigureKind(
        "regret",
        "Regret of the derived cell",
        plot_regret,
        "Best accuracy of the table minus that of the cell that would be derived after each epoch or second.",
    ),
)


def figure_kind(name: str) -> FigureKind:
    """The figure of that name; raises `RunError` for an unknown one.

    >>> figure_kind("convergence").title
    'Accuracy of the derived cell'
    """
    every = (*FIGURES, *MORE_FIGURES)
    for kind in every:
        if kind.name == name:
            return kind
    raise RunError(unknown("figure", name, (*(kind.name for kind in every), ONE_SHOT)))


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Write a figure by its suffix (`.svg`, `.png`, `.pdf`), atomically; equal figures give equal bytes.

    Raises `RunError` for another suffix or a folder that cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        raise RunError(unknown("figure format", kind or path.name, _METADATA))
    with style(), atomic_path(path) as part:
        figure.savefig(part, format=kind, metadata=_METADATA[kind])
    return path


def inline_svg(figure: Figure, prefix: str, title: str, description: str) -> str:
    """The figure as one `<svg>` element for an HTML page: titled, scalable, without references to the outside.

    `prefix` goes before every id, so that several figures can stand in one page. Coordinates keep two decimals, which
    is 1/7200 inch, and comments (they repeat the text of names) are dropped.
    """
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata=_METADATA["svg"])
    text = buffer.getvalue()
    text = _METADATA_BLOCK.sub("", _COMMENT.sub("", text[text.index("<svg") :]))
    box = _VIEW_BOX.search(text)
    head = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg" '
        f'{box.group(0) if box else ""} role="img" aria-labelledby={quoteattr(f"{prefix}-title {prefix}-desc")}>'
    )
    text = _COORDINATES.sub(lambda found: f'{found.group(1)}{_NUMBER.sub(_two_decimals, found.group(2))}"', text)
    text = _ID.sub(rf"\g<1>{prefix}-", text)
    names = (
        f"<title id={quoteattr(f'{prefix}-title')}>{escape(title)}</title>"
        f"<desc id={quoteattr(f'{prefix}-desc')}>{escape(description)}</desc>"
    )
    return _SVG_TAG.sub(lambda _: head + names, text, count=1).strip()


def _two_decimals(number: re.Match[str]) -> str:
    return f"{float(number.group(0)):.2f}"
