"""Who is computing a cell: claim files, so that two workers on one cell never both compute it.

A claim is a file `NAME.claim-0001`, created with O_EXCL, that says which process holds it; its owner renews the file's
time every few seconds. The highest number holds. A claim whose owner is dead, or has let go, is not removed but
succeeded: by `NAME.claim-0002`. Creating that file is what decides between two successors; removing the dead one first
would let the slower of them remove the faster one's. The highest file is never removed (a slow successor would find its
number free again) until the cell is finished, when nobody who gets in has anything left to do. An owner is dead

- at once, where it ran on this machine (same boot, same process namespace) and its process is gone: a killed worker;
- else after `LEASE` seconds without a renewal, by the watcher's own clock: another machine's may differ.

An owner that was thought dead and is not (a suspended machine) sees the higher number and stops.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nasbench_sim.errors import RunError

LEASE = 60.0  # seconds
_RENEW = LEASE / 6
_POLL = 0.2
_RELEASED = "released\n"


class Stopped(Exception):
    """The run was interrupted; the last checkpoint of the cell holds what was done."""


def never() -> bool:
    """Nobody interrupts."""
    return False


class Watch(NamedTuple):
    """What a watcher last saw of a claim, and since when (its own monotonic clock, seconds) that has not changed."""

    path: Path
    changed: int
    since: float


class Claim:
    """A claim that this process holds. `lost` is set once another process has taken the cell over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = threading.Event()
        self.settled = False  # set by the owner: the cell is finished, its claims may go
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._released.wait(_RENEW):
            with suppress(OSError):  # a file server that is away for a moment; the lease is long
                held = claims(self.path.with_suffix(""))
                if not held or held[-1] != self.path:  # none: a successor has finished already
                    self.lost.set()
                    return
                os.utime(self.path)

    def release(self) -> None:
        """Let go: the claim stays and says so, or goes with all others where the cell is finished."""
        self._released.set()
        self._thread.join()
        if self.settled:
            for path in claims(self.path.with_suffix("")):
                path.unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError), self.path.open("r+") as file:  # r+: it may not come back once succeeded
            file.truncate()
            file.write(_RELEASED)


def claims(base: Path) -> list[Path]:
    """Claim files of the cell whose folder is `base`, the holder's last."""
    return sorted(base.parent.glob(f"{base.name}.claim-*"))


@contextmanager
def claimed(
    base: Path, *, stopped: Callable[[], bool] = never, lease: float = LEASE, poll: float = _POLL
) -> Iterator[Claim]:
    """Hold the cell whose folder is `base`, after waiting for whoever holds it now.

    Whoever gets it must look whether the cell was finished meanwhile. Raises `RunError` where the folder cannot be
    written, and `Stopped` where `stopped()` says so while this waits.

    >>> import tempfile
    >>> base = Path(tempfile.mkdtemp()) / "cell"
    >>> with claimed(base) as claim:
    ...     claim.settled = True
    ...     [path.name for path in claims(base)], claim.lost.is_set()
    (['cell.claim-0001'], False)
    >>> claims(base)
    []
    """
    watch: Watch | None = None
    while True:
        held = claims(base)
        number = 1
        if held:
            watch = _look(held[-1], watch)
            if stopped():
                raise Stopped
            if watch is not None and not _stale(watch, lease):
                time.sleep(poll)
                continue
            number = int(held[-1].suffix.removeprefix(".claim-")) + 1
        path = base.parent / f"{base.name}.claim-{number:04d}"
        if _create(path):
            if claims(base)[-1:] == [path]:
                break
            path.unlink(missing_ok=True)  # too slow: others have succeeded one another, or finished, meanwhile
    for earlier in claims(base):
        if earlier < path:
            earlier.unlink(missing_ok=True)
    claim = Claim(path)
    try:
        yield claim
    finally:
        claim.release()


def _create(path: Path) -> bool:
    """Create the file with this process's name in it; False where it exists."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.parent.is_dir():
            return False
        raise RunError(
            f"cannot write {path}: {error.strerror}; choose a folder that all workers can write to"
        ) from error
    with os.fdopen(handle, "w") as file:
        json.dump({"host": _here(), "pid": os.getpid(), "start": _start(os.getpid())}, file)
    return True


def _look(path: Path, before: Watch | None) -> Watch | None:
    """The claim as seen now, keeping since when it has been so; None where it went away meanwhile."""
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return None
    if before is not None and before[:2] == (path, changed):
        return before
    return Watch(path, changed, time.monotonic())


def _stale(watch: Watch, lease: float) -> bool:
    """Whether the owner is dead: known on this machine, told by the lease on another one."""
    try:
        text = watch.path.read_text()
        if text == _RELEASED:
            return True
        owner = json.loads(text)
        if owner["host"] == _here():
            return bool(_start(int(owner["pid"])) != owner["start"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not written yet, or by a process that died while it wrote
    return time.monotonic() - watch.since > lease


@cache
def _here() -> str:
    """This machine: its name, boot and process namespace; containers may share a name and count from 1 each."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _start(pid: int) -> str | None:
    """When a process of this machine started (numbers are used again), "" where that cannot be told, None if dead."""
    try:
        # the name in parentheses may hold anything; after it: state, parent, ...; field 22 is the start in ticks
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except OSError:
        return ""
    try:
        os.kill(pid, 0)  # no /proc here: signal 0 only asks
    except ProcessLookupError:
        return None
    except OSError:
        return ""
    return ""
