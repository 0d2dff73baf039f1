"""Rows of published numbers beside ours, and how they are printed: terminal, Markdown, CSV, plain data."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from nasbench_sim.files import atomic_path
from nasbench_sim.reporting.series import clean

HEADINGS = ("method", "landscape", "data set, accuracy", "ours", "published", "published row", "inside", "notes")
NARROW = 112  # columns of a terminal
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|&#])")


@dataclass(frozen=True)
class ComparisonRow:
    """One accuracy of one run beside one published number.

    Accuracies in percent, sd with n - 1, over the `n` searches that did not fail; `failed` diverged and are in no mean
    (`mean` is NaN where all did). `sd` is None for one seed; `their_*` are None where nothing was published.
    `inside` tells whether our mean lies within their mean ± 2 sd, None where that is not to be judged. `source` is
    the paper and table of every published row with this number, `notes` what a reader must know about the pair,
    `missing` why there is no number of ours (then NaN).
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
    their_label: str = "none"
    their_mean: float | None = None
    their_sd: float | None = None
    their_n: int | None = None
    source: str = ""
    inside: bool | None = None
    notes: tuple[str, ...] = ()
    missing: str = ""

    @property
    def ours(self) -> str:
        """Our mean ± sd and n, as printed."""
        if self.missing:
            return "not available"
        if math.isnan(self.mean):
            return "all failed" if self.failed else "none"
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


def _score(mean: float, sd: float | None, n: int | None) -> str:
    spread = "" if sd is None else f" ± {sd:.2f}"
    return f"{mean:.2f}{spread} (n={'?' if n is None else f'{n:,}'})"


def _notes(row: ComparisonRow) -> tuple[str, ...]:
    return ((row.source,) if row.source else ()) + row.notes + ((row.missing,) if row.missing else ())


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
