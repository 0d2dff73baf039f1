"""What can go wrong through a user's doing: one line that says what, where and how to mend it.

The command line turns every `UserError` into exit code 2 and its message; anything else is ours and is exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in the input, told in one line: what is wrong, where, and how to mend it."""

    def __str__(self) -> str:  # KeyError subclasses would print the repr of the message
        return str(self.args[0]) if self.args else ""


class ArchError(UserError, ValueError):
    """An architecture string, vector or index that is not in the search space; names the position."""


class NotMeasured(UserError, KeyError):
    """A (dataset, split, epochs, seed) or metric that the table does not hold; lists what it does hold."""


class TableError(UserError, ValueError):
    """A table file that is damaged, of another schema, out of physical range, or not what it says it is."""


class SpecError(UserError, ValueError):
    """An unknown name or impossible value in a run's specification."""


class RunError(UserError, RuntimeError):
    """An output folder or record that cannot be used: occupied, unwritable, full, or made from another table."""


def unknown(kind: str, name: object, known: Iterable[object]) -> str:
    """One line for an unknown name: what was asked, the nearest known one, and all known ones.

    >>> unknown("method", "dart", ["darts", "parsec"])
    "unknown method 'dart'; did you mean 'darts'? Known: darts, parsec"
    """
    names = [str(k) for k in known]
    near = get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {str(name)!r}{hint} Known: {', '.join(names) if names else '(none)'}"
