"""Worker processes: started apart from the caller's script, one BLAS thread each, stopped by a flag, never orphaned."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.reduction import ForkingPickler
from threading import Thread
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

from nasbench_sim.errors import RunError
from nasbench_sim.searchers import methods

P = ParamSpec("P")
T = TypeVar("T")

_OURS: dict[str, Any] = {}  # what a worker process was given


class Workers(ProcessPoolExecutor):
    """Spawned processes that know `given` (see `ours`) and do not run the caller's script, as `spawn` would have them.

    A script may then search without the clause `if __name__ == "__main__"`, for lack of which each worker starts the
    whole script anew and dies of it. A script that has something they need, a method registered there or a class of
    `given`, is brought along as ever. `given` travels with every call (a copy of the bytes) and is unpacked once a
    process, so that nothing large is written to one that dies while it starts.
    """

    def __init__(self, workers: int, *, given: dict[str, Any], inherited: dict[str, Any]) -> None:
        context = get_context("spawn")
        self.stop = context.Value("b", 0)
        start = partial(_become, stop=self.stop, **inherited)
        super().__init__(workers, mp_context=context, initializer=start)
        self._given = bytes(ForkingPickler.dumps(given))
        self._script = b"__main__" in self._given or any(_of_script(r.factory) for r in methods().values())

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `ProcessPoolExecutor.submit`, which is where processes start."""
        call = partial(_call, self._given, fn)
        if self._script or _of_script(fn):
            return super().submit(call, *args, **kwargs)
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # has no file: nothing to run
        try:
            return super().submit(call, *args, **kwargs)
        finally:
            sys.modules["__main__"] = script


def _of_script(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__module__", "") == "__main__"


def _call(given: bytes, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    if "unpacked" not in _OURS:
        _OURS.update(ForkingPickler.loads(given), unpacked=True)
    return fn(*args, **kwargs)


@contextmanager
def started(workers: int, *, inherited: dict[str, Any] | None = None, **given: Any) -> Iterator[Workers]:
    """So many processes that know `given`; at the end work in progress is stopped and waited for.

    `inherited`: locks and shared arrays of `multiprocessing`, which travel with the start of a process only. Raises
    `RunError` in a script that a starting worker runs again.
    """
    if getattr(current_process(), "_inheriting", False):  # else the pool's thread waits for processes that cannot be
        raise RunError('this script searches while a worker imports it: search under `if __name__ == "__main__":`')
    with Workers(workers, given=given, inherited=inherited or {}) as pool:
        try:
            yield pool
        finally:
            pool.stop.value = 1
            pool.shutdown(wait=True, cancel_futures=True)


def ours(name: str) -> Any:
    """What this worker process was given under `name`."""
    return _OURS[name]


def stopped() -> bool:
    """Whether the run that this process works for was interrupted (only worker processes of ours are ever told).

    >>> stopped()
    False
    """
    return bool(_OURS["stop"].value) if "stop" in _OURS else False


def _become(**inherited: Any) -> None:
    """Start a worker process: it dies with its parent, leaves Ctrl-C to it and has one BLAS thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it sets `stop`
    Thread(target=_die_with_parent, daemon=True).start()
    _OURS.update(inherited, threads=threadpool_limits(1))


def _die_with_parent() -> None:
    """An orphan (parent killed) must neither hang on its queue nor write into a folder that someone may resume."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # at any moment: files are replaced atomically
