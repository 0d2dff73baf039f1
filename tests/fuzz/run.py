"""Trying inputs on a parser in a process of its own, and what counts as a finding.

crash      an exception that is no `UserError`, or whose message is not one line
death      the process ended: a fault in a C library
hang       more than a second of processor time
memory     more than 2 GiB beyond what the process had before
remains    an error after which a file stands where a table would
"""

from __future__ import annotations

import hashlib
import mmap
import multiprocessing
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nasbench_sim.errors import UserError
from tests.fuzz.mutate import longest, mutant, rng_of
from tests.fuzz.target import Target

HANG = 1.0  # seconds of processor time: a busy machine makes nothing hang
_STUCK = 20.0  # seconds of wall-clock time without an answer: waiting, or in C code that signals do not reach
_MEMORY = 2 << 30
_POOL = 400
_CURRENT = 1 << 24


class Hung(BaseException):
    """Raised by the timer; no parser catches it."""


@dataclass
class Finding:
    """One kind of failure: what it was, the input that showed it, and how often it came."""

    kind: str
    about: str
    data: bytes
    number: int
    times: int = 1


@dataclass
class Outcome:
    """What a run saw: inputs tried, how many were read and how many refused, in seconds, and the findings."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    answers: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    findings: dict[str, Finding] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Count a finding; the first of each kind is kept."""
        known = self.findings.get(finding.about)
        if known is None:
            self.findings[finding.about] = finding
        else:
            known.times += 1


def try_one(target: Target, data: bytes, folder: Path) -> tuple[str, str, float]:
    """(`read`, `refused` or the kind of a finding, what was said, processor seconds) of one input."""
    home = folder / "home"
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, HANG)
    try:
        target.parse(data, folder)
        kind, said = "read", ""
    except UserError as error:
        kind, said = "refused", str(error)
        if "\n" in said or not said:
            kind = "crash"
        elif any(p.is_file() for p in home.rglob("*")):
            kind, said = "remains", f"{[p.name for p in home.rglob('*')]} after: {said}"
    except Hung:
        kind, said = "hang", "over a second"
    except MemoryError as error:
        kind, said = "memory", _place(error)
    except Exception as error:
        kind, said = "crash", _place(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    took = time.process_time() - began
    if took > HANG and kind in ("read", "refused"):
        kind, said = "hang", f"over a second: {said[:80]}"
    _empty(folder)
    return kind, said, took


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.name}:{last.lineno}: {str(error)[:120]}"


def _hung(*_: object) -> None:
    raise Hung


def fuzz(
    target: Target, inputs: int, seed: int, *, progress: Callable[[Outcome], None] = lambda _: None, apart: bool = True
) -> Outcome:
    """Try `inputs` inputs; `apart` runs them in a child process, which is replaced when it dies."""
    outcome = Outcome()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        made = Path(scratch) / "seeds"
        made.mkdir()
        good = target.seeds(made)
        work = Path(scratch) / "work"
        work.mkdir()
        for data in good:
            kind, said, _ = try_one(target, data, work)
            if kind != "read":
                raise AssertionError(f"{target.name}: a good file is not read ({kind}: {said})")
        start = 0
        while start < inputs:
            if apart:
                start = _in_a_child(target, good, range(start, inputs), seed, work, outcome, progress)
            else:
                _try_all(target, good, range(start, inputs), seed, work, outcome, lambda *_: None, progress)
                start = inputs
    outcome.seconds = time.monotonic() - began
    return outcome


def _try_all(
    target: Target,
    good: list[bytes],
    numbers: range,
    seed: int,
    folder: Path,
    outcome: Outcome,
    note: Callable[[int, bytes], None],
    progress: Callable[[Outcome], None],
) -> None:
    pool, most = list(good), longest(good)
    seen: Counter[str] = Counter()
    before = signal.signal(signal.SIGPROF, _hung)
    try:
        for number in numbers:
            rng = rng_of(seed, number)
            data = target.mend(mutant(pool, target.words, rng, most), rng)
            note(number, data)
            kind, said, took = try_one(target, data, folder)
            outcome.inputs += 1
            outcome.slowest = max(outcome.slowest, took)
            if kind in ("read", "refused"):
                setattr(outcome, kind, getattr(outcome, kind) + 1)
                answer = kind + re.sub(r"0x[0-9a-f]+|\d+|'[^']*'|\"[^\"]*\"", "#", said)[:160]
                seen[answer] += 1
                if seen[answer] == 1 and len(pool) < _POOL:
                    pool.append(data)
            else:
                outcome.add(Finding(kind, f"{kind}: {said}", data, number))
            if number % 256 == 255:
                progress(outcome)
    finally:
        signal.signal(signal.SIGPROF, before)
    outcome.answers = max(outcome.answers, len(seen))


def _in_a_child(
    target: Target,
    good: list[bytes],
    numbers: range,
    seed: int,
    folder: Path,
    outcome: Outcome,
    progress: Callable[[Outcome], None],
) -> int:
    """Try the inputs in a forked process; returns the number to go on from, after a death the one behind it."""
    current = mmap.mmap(-1, _CURRENT)  # shared: what the child is at, also when it can say nothing any more
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def note(number: int, data: bytes) -> None:
        current[:16] = number.to_bytes(8, "little") + len(data).to_bytes(8, "little")
        current[16 : 16 + len(data)] = data

    def work() -> None:
        _limit_memory()
        out = Outcome()
        _try_all(target, good, numbers, seed, folder, out, note, theirs.send)
        theirs.send(out)

    child = context.Process(target=work, daemon=True)
    child.start()
    theirs.close()
    last, stuck, number, since = Outcome(), False, -1, time.monotonic()
    while True:
        try:
            if ours.poll(1.0):
                last = ours.recv()
                progress(_sum(outcome, last))
        except EOFError:
            break
        here = int.from_bytes(current[:8], "little")
        if here != number:
            number, since = here, time.monotonic()
        elif time.monotonic() - since > _STUCK and not stuck:
            child.kill()
            stuck = True
    child.join()
    outcome.__dict__.update(vars(_sum(outcome, last)))
    if child.exitcode == 0:
        return numbers.stop
    number, size = (int.from_bytes(current[i : i + 8], "little") for i in (0, 8))
    if child.exitcode == 1:
        raise RuntimeError(f"{target.name}: the fuzzer itself failed at input {number}, see above")
    what = f"hang: {_STUCK:.0f} s without an answer" if stuck else f"death: by signal {-(child.exitcode or 0)}"
    outcome.add(Finding(what.split(":")[0], what, bytes(current[16 : 16 + size]), number))
    outcome.inputs += 1
    _empty(folder)
    return number + 1


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _limit_memory() -> None:
    """No more than 2 GiB of address space beyond what is mapped now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _sum(a: Outcome, b: Outcome) -> Outcome:
    out = Outcome(a.inputs + b.inputs, a.read + b.read, a.refused + b.refused, max(a.answers, b.answers))
    out.slowest = max(a.slowest, b.slowest)
    for one in (*a.findings.values(), *b.findings.values()):
        if one.about in out.findings:
            out.findings[one.about].times += one.times
        else:
            out.findings[one.about] = Finding(**vars(one))
    return out


def name_of(finding: Finding) -> str:
    """The file that a finding is kept under."""
    return f"{finding.kind}-{hashlib.sha256(finding.data).hexdigest()[:12]}.bin"
