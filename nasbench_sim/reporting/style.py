"""One place for how figures look: colours, line styles, fonts, sizes and the words for quantities and units."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl

#: methods with a look of their own, in the order of the registry; later names take what is left
METHODS = (
    *("darts", "balenas", "bpnas", "parsec", "random", "gdas", "drnas"),
    *("snas", "pc-darts", "proxylessnas", "rsps", "setn", "enas", "balenas-tf"),
    *("rea", "rs", "reinforce", "local-search", "gp-bo", "tpe", "bohb"),
)
#: Okabe and Ito (2008), safe for colour-blind readers; without yellow, which is unreadable on white
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#4D4D4D", "#E69F00", "#56B4E9")
#: tells lines apart in grey print; 5 and 7 have no common factor, so 35 looks differ
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)), (0, (9, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LOOKS = len(COLOURS) * len(DASHES)

PANEL_WIDTH, PANEL_HEIGHT, LEGEND_ROW = 3.5, 2.6, 0.22  # inches
OPTIMUM = "#767676"

AXIS = {
    "epoch": "search epoch",
    "seconds": "simulated seconds",
    "valid": "validation accuracy (%)",
    "test": "test accuracy (%)",
    "skip_ratio": "skip connections (fraction of edges)",
    "eigenvalue": "dominant eigenvalue (1/α²)",
    "entropy": "entropy per decision (nats)",
    "active_ops": "active operations (count)",
}

RC: Any = {
    "font.family": ["DejaVu Sans"],  # ships with matplotlib: the same figure on every machine
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "lines.markersize": 3.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "legend.handlelength": 2.8,
    "figure.dpi": 110.0,
    "savefig.dpi": 200.0,
    "text.parse_math": False,  # a run's name may hold a dollar sign
    "svg.fonttype": "path",  # no font is needed to read the page
    "svg.hashsalt": "nasbench-sim",  # the same ids every time
    "pdf.fonttype": 42,
    "path.simplify": True,
}


class Look(NamedTuple):
    """How one run is drawn."""

    colour: str
    dashes: Any
    marker: str


def look(number: int) -> Look:
    """The `number`-th look; looks repeat after `LOOKS`."""
    return Look(COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)])


def looks(named: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """A look for every (label, method): a known method's first label gets that method's own, for ever.

    Other labels start at a slot told by a checksum of the label, so that a name looks the same in every report unless
    two names of one report want the same slot; then the later one takes the next free slot.

    >>> looks([("darts", "darts")])["darts"].colour
    '#D55E00'
    """
    out: dict[str, Look] = {}
    taken: set[int] = set()
    late = []
    for label, method in named:
        slot = METHODS.index(method) if method in METHODS else -1
        if label in out or label in late:
            continue
        if slot < 0 or slot in taken:
            late.append(label)
        else:
            taken.add(slot)
            out[label] = look(slot)
    own = len(METHODS)
    for label in late:
        start = zlib.crc32(label.encode()) % (LOOKS - own)
        order = [own + (start + i) % (LOOKS - own) for i in range(LOOKS - own)] + list(range(own))
        slot = next((s for s in order if s not in taken), order[0])
        taken.add(slot)
        out[label] = look(slot)
    return out


def axis_label(name: str) -> str:
    """Words and unit for a quantity; an unknown role is an accuracy in percent.

    >>> axis_label("accuracy")
    'accuracy (%)'
    """
    return AXIS.get(name, f"{name} (%)")


@contextmanager
def style() -> Iterator[None]:
    """Draw and save inside this context; nothing of the caller's matplotlib settings leaks in or out."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield
