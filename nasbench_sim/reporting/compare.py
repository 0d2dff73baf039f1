"""Published beside ours: for every run and accuracy the papers' mean, sd and n, and whether ours falls inside."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from nasbench_sim.files import atomic_path
from nasbench_sim.reporting.published import PublishedRow, Score, absent_note, published_rows
from nasbench_sim.reporting.series import (
    clean,
    is_nb201,
    labels,
    orientation_only,
    panel_of,
    panels,
    published_role,
    settings,
)
from nasbench_sim.runs.record import Run

ROUNDING = 0.005  # half of the last printed digit, percent
HEADINGS = ("method", "landscape", "data set, accuracy", "ours", "published", "published row", "inside", "notes")
NARROW = 112  # columns of a terminal
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|&#])")


@dataclass(frozen=True)
class ComparisonRow:
    """One accuracy of one run beside one published number.

    Accuracies in percent, sd with n - 1, over the `n` searches that did not fail; `failed` diverged and are in no mean
    (`mean` is NaN where all did). `sd` is None for one seed; `their_*` are None where nothing was published.
    `inside` tells whether our mean lies within their mean ± 2 sd, None where that is not to be judged. `source` is
    the paper and table of every published row with this number, `notes` what a reader must know about the pair.
    """

    method: str
    table: str
    landscape: str
    dataset: str
    role: str
    mean: float
    sd: float | None
    n: int
    failed: int
    their_label: str
    their_mean: float | None
    their_sd: float | None
    their_n: int | None
    source: str
    inside: bool | None
    notes: tuple[str, ...]

    @property
    def ours(self) -> str:
        """Our mean ± sd and n, as printed."""
        return _score(self.mean, self.sd, self.n)

    @property
    def theirs(self) -> str:
        """The published mean ± sd and n, as printed; a dash where there is none."""
        return "–" if self.their_mean is None else _score(self.their_mean, self.their_sd, self.their_n)

    @property
    def verdict(self) -> str:
        """`inside`, `outside` or `not judged`."""
        return {True: "inside", False: "outside", None: "not judged"}[self.inside]


@dataclass(frozen=True)
class Comparison:
    """All rows, and the sentence that must stand above them."""

    rows: tuple[ComparisonRow, ...]
    preamble: str

    @property
    def footnotes(self) -> tuple[str, ...]:
        """Sources and notes, each once, in order of first use; rows refer to them by number from 1."""
        return tuple(dict.fromkeys(text for row in self.rows for text in _notes(row)))

    def numbers(self, row: ComparisonRow) -> str:
        """Footnote numbers of a row, e.g. `1, 4`."""
        index = {text: i for i, text in enumerate(self.footnotes, start=1)}
        return ", ".join(str(index[text]) for text in _notes(row))

    def records(self) -> list[dict[str, Any]]:
        """The rows as plain data (for JSON), with `verdict`."""
        plain = [{**asdict(row), "notes": list(row.notes), "verdict": row.verdict} for row in self.rows]
        return [{k: None if v != v else v for k, v in row.items()} for row in plain]  # JSON has no NaN

    def to_terminal(self, width: int = 120) -> RichTable:
        """A table for `rich.print`; footnotes in its caption. Names are shown as they are, never as rich markup.

        Below `NARROW` columns n stands under the mean, so that no number is broken. `rich.print(comparison)` chooses
        by itself.
        """
        caption = Text("\n".join(f"{i}  {text}" for i, text in enumerate(self.footnotes, start=1)), justify="left")
        out = RichTable(title=Text(self.preamble), caption=caption, title_justify="left", caption_justify="left")
        out.box, out.show_edge, out.padding = SIMPLE_HEAD, False, (0, 1, 0, 0)
        for heading in HEADINGS:
            out.add_column(Text(heading), overflow="fold", no_wrap=heading in ("ours", "published"))
        colours = {True: "green", False: "red", None: "default"}
        for row in self.rows:
            method, landscape, accuracy, ours, theirs, *rest = _cells(self, row)
            if width < NARROW:
                ours, theirs = ours.replace(" (", "\n("), theirs.replace(" (", "\n(")
            texts = [Text(cell) for cell in (method, landscape, accuracy, ours, theirs, *rest)]
            texts[6].stylize(colours[row.inside])
            out.add_row(*texts)
        return out

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.to_terminal(options.max_width)

    def to_markdown(self) -> str:
        """A GitHub table with the preamble above and numbered footnotes below."""
        lines = [_markdown(self.preamble), "", "| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
        lines += ["| " + " | ".join(_markdown(cell) for cell in _cells(self, row)) + " |" for row in self.rows]
        lines += ["", *(f"{i}. {_markdown(text)}" for i, text in enumerate(self.footnotes, start=1))]
        return "\n".join(lines) + "\n"

    def to_csv(self, path: Path | str) -> Path:
        """Write one line a row, atomically; text that a spreadsheet would run as a formula gets a leading quote."""
        records = self.records()
        with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(list(records[0]) if records else [])
            for record in records:
                writer.writerow([_csv(value) for value in record.values()])
        return Path(path)


def compare(runs: Sequence[Run]) -> Comparison:
    """Put every run's final accuracies beside the published rows of its method and data set.

    A run without a published row gets one line that says so. Rows of several papers that print the same numbers are
    one line with all sources. Where their sd is 0 or not printed, inside means equal to within rounding (0.005).

    Raises `RunError` for no runs, `TableError` where the published results are missing or damaged.
    """
    rows: list[ComparisonRow] = []
    for run, label in zip(runs, labels(runs), strict=True):
        for role in run.table["report_keys"]:
            rows += _rows(run, label, role)
    return Comparison(tuple(rows), _preamble(panel.landscape for panel in panels(runs)))


def judge(mean: float, score: Score) -> bool:
    """Whether `mean` lies within the published mean ± 2 sd (± rounding where sd is 0 or unknown), percent.

    >>> judge(93.9, Score(mean=93.62, sd=0.12)), judge(93.8, Score(mean=93.62, sd=0.12))
    (False, True)
    """
    theirs = score.mean if score.corrected is None else score.corrected
    return abs(mean - theirs) <= (2 * score.sd if score.sd else ROUNDING) + 1e-5  # float32 tables: 54.3 is 54.299999


def _rows(run: Run, label: str, role: str) -> list[ComparisonRow]:
    values = np.asarray(run.final(role)[~run.failed], dtype=np.float64)
    n = len(values)
    shared = {
        "method": label,
        **panel_of(run)._asdict(),
        "role": role,
        "mean": float(values.mean()) if n else math.nan,
        "sd": float(values.std(ddof=1)) if n > 1 else None,
        "n": n,
        "failed": int(run.failed.sum()),
    }
    common = _common_notes(run)
    found: list[PublishedRow] = []
    missing = "published results are at hand for NAS-Bench-201 only; this table is of another space"
    if is_nb201(run):
        known = published_rows(run.spec.method, run.spec.dataset, params=settings(run))
        found = [row for row in known if published_role(role) in row.scores]
        have = ", ".join(dict.fromkeys(name for row in known for name in row.scores))
        missing = f"published with {have} accuracy only" if known else absent_note(run.spec.method)
    if not found:
        nothing = ComparisonRow(
            **shared,
            their_label="none",
            their_mean=None,
            their_sd=None,
            their_n=None,
            source="",
            inside=None,
            notes=(missing, *common),
        )
        return [nothing]
    return [_pair(run, shared, common, group, role) for group in _merged(found, run.spec.dataset, role)]


def _pair(
    run: Run, shared: dict[str, Any], common: tuple[str, ...], group: list[PublishedRow], role: str
) -> ComparisonRow:
    """One line: our accuracy beside the number that all rows of `group` print."""
    score = group[0].scores[published_role(role)]  # type: ignore[index]
    notes = list(common)
    inside: bool | None = None
    if orientation_only(run, role):
        notes.append(
            "this table's accuracy is another training of the cells than the papers report: for orientation, not judged"
        )
    else:
        inside = None if math.isnan(shared["mean"]) else judge(shared["mean"], score)
        if not score.sd:
            notes.append("their sd is 0 or not printed: inside means equal to within rounding (0.005)")
    if score.corrected is not None:
        notes.append(f"misprint: {score.mean:.2f} is printed where {score.corrected:.2f} is meant")
    if _elsewhere(group[0], run.spec.dataset):
        notes.append(f"the published cell was found by a search on CIFAR-10, ours by a search on {run.spec.dataset}")
    epochs = [row for row in group if row.epochs not in (None, run.epochs)]
    notes += _by_label((f"{row.epochs} search epochs, ours {run.epochs}", row.label) for row in epochs)
    notes += _by_label((row.remark, row.label) for row in group if row.remark)
    return ComparisonRow(
        **shared,
        their_label="; ".join(dict.fromkeys(row.label for row in group)),
        their_mean=score.mean,
        their_sd=score.sd,
        their_n=group[0].n,
        source="; ".join(_by_label((f"{row.source}, {row.where}", row.label) for row in group)),
        inside=inside,
        notes=tuple(dict.fromkeys(notes)),
    )


def _by_label(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Each text once, after the labels of the rows that it belongs to where there are several rows."""
    labelled: dict[str, list[str]] = {}
    for text, label in pairs:
        labelled.setdefault(text, []).append(label)
    if len({label for names in labelled.values() for label in names}) == 1:
        return list(labelled)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in labelled.items()]


def _merged(rows: Iterable[PublishedRow], dataset: str, role: str) -> list[list[PublishedRow]]:
    """Rows that print the same mean, sd (0 and none alike) and n, found on the same data set, are one group."""
    groups: dict[tuple[Any, ...], list[PublishedRow]] = {}
    for row in rows:
        score = row.scores[published_role(role)]  # type: ignore[index]
        groups.setdefault((score.mean, score.sd or 0.0, row.n, _elsewhere(row, dataset)), []).append(row)
    return list(groups.values())


def _elsewhere(row: PublishedRow, dataset: str) -> bool:
    return row.searched_on == "cifar10" and dataset != "cifar10"


def _common_notes(run: Run) -> tuple[str, ...]:
    notes = [clean(run.table.get("remark", ""))]
    if run.spec.landscape == "tabular":
        notes.append("tabular landscape: the exact expectation over the table, without weight-sharing error: a control")
    failed = int(run.failed.sum())
    if failed:
        notes.append(
            f"{failed} of {len(run.seeds)} searches diverged (alpha no longer finite): in no mean, kept in the record"
        )
    if len(run.seeds) == 1:
        notes.append("one seed: ours has no sd")
    return tuple(note for note in notes if note)


def _preamble(landscapes: Iterable[str]) -> str:
    signal = {
        "shared": "with a modelled supernet signal (landscape 'shared')",
        "tabular": "on the exact expectation over the table (landscape 'tabular')",
    }
    how = " or ".join(signal.get(name, f"on landscape '{name}'") for name in dict.fromkeys(landscapes))
    return (
        f"Table-based searches {how}; no network was trained. Accuracy in percent, mean ± sd (n searches, "
        "? where the source does not say)."
    )


def _score(mean: float, sd: float | None, n: int | None) -> str:
    if math.isnan(mean):
        return "all failed"
    spread = "" if sd is None else f" ± {sd:.2f}"
    return f"{mean:.2f}{spread} (n={'?' if n is None else f'{n:,}'})"


def _notes(row: ComparisonRow) -> tuple[str, ...]:
    return ((row.source,) if row.source else ()) + row.notes


def _cells(comparison: Comparison, row: ComparisonRow) -> tuple[str, ...]:
    numbers = comparison.numbers(row)
    first = (row.method, row.landscape, f"{row.dataset} {row.role}", row.ours, row.theirs, row.their_label)
    return (*first, row.verdict, numbers)


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", clean(text))


def _csv(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(round(value, 4)) if math.isfinite(value) else ""
    text = clean("; ".join(value) if isinstance(value, list) else value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
