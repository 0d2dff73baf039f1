"""`python -m tests.fuzz PARSER --inputs 100000 --seed 0`: try mutated files on a parser; exit code 1 on a finding."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz import parsers  # noqa: F401  (registers the targets)
from tests.fuzz.run import Outcome, fuzz, name_of
from tests.fuzz.target import TARGETS


def main() -> int:
    """Run the named targets one after another, one line each."""
    about = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    about.add_argument("parser", nargs="*", default=["all"], help="names of parsers, or all; see --list")
    about.add_argument("--inputs", type=int, default=100_000, help="inputs a parser (default 100,000)")
    about.add_argument("--seed", type=int, default=0, help="the inputs are a function of it")
    about.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="where inputs that failed are kept")
    about.add_argument("--list", action="store_true", help="list the parsers and what they read")
    given = about.parse_args()
    if given.list:
        for _, one in sorted(TARGETS.items()):
            print(f"{one.name:18} {one.reads}")
        return 0
    names = sorted(TARGETS) if given.parser == ["all"] else given.parser
    wrong = [name for name in names if name not in TARGETS]
    if wrong or given.inputs < 1 or given.seed < 0:
        about.error(f"no parser {wrong[0]!r}; there are {', '.join(TARGETS)}" if wrong else "give numbers above 0")
    found = 0
    for name in names:
        out = fuzz(TARGETS[name], given.inputs, given.seed, progress=_progress(name))
        print(_line(name, out), flush=True)
        for finding in out.findings.values():
            found += 1
            given.keep.mkdir(parents=True, exist_ok=True)
            path = given.keep / f"{name}-{name_of(finding)}"
            path.write_bytes(finding.data)
            print(f"  {finding.times} x {finding.about}; input {finding.number}, kept as {path}", flush=True)
    return 1 if found else 0


def _progress(name: str) -> object:
    def show(out: Outcome) -> None:
        if sys.stderr.isatty():
            print(f"\r{name}: {out.inputs:,} inputs, {len(out.findings)} findings ", end="", file=sys.stderr)

    return show


def _line(name: str, out: Outcome) -> str:
    return (
        f"{name}: {out.inputs:,} inputs in {out.seconds:.0f} s, {out.read:,} read, {out.refused:,} refused in "
        f"{out.answers} ways, slowest {out.slowest * 1e3:.0f} ms, {len(out.findings)} findings"
    )


if __name__ == "__main__":
    sys.exit(main())
