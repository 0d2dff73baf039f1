"""Out of memory: tell it from other errors, and say which batch would fit."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from nasbench_sim.errors import RunError


def out_of_memory(error: BaseException) -> bool:
    """Whether this is the device's or the host's memory running out (the host's is a plain RuntimeError)."""
    text = str(error)
    host = isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or host


def largest(run: Callable[[int], None], size: int) -> int:
    """The largest of size, size/2, size/4, ... for which `run` has enough memory; 0 where none of at least 2 has.

    >>> def run(n):
    ...     if n > 20:
    ...         raise MemoryError
    >>> largest(run, 64)
    16
    """
    while size >= 2:
        _release()
        try:
            run(size)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        else:
            return size
        size //= 2
    return 0


@contextmanager
def told(where: str, batch: int, eval_batch: int, run: Callable[[int], None]) -> Iterator[None]:
    """Turn running out of memory inside into a `RunError` that names a batch for which `run(batch)` has enough."""
    problem = None
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        problem = " ".join(str(error).split())[:100]
    if problem is None:
        return
    fits = largest(run, batch)  # outside the handler: its traceback holds on to what filled the memory
    if fits == batch:
        mend = f"a training step of {batch} images fits, so it is the evaluation: set eval_batch below {eval_batch}"
    elif fits:
        mend = f"a batch of {fits} fits: set batch={fits}"
    else:
        mend = "not even 2 images fit: take fewer channels or another device"
    raise RunError(f"out of memory on {where} with batch {batch}; {mend} ({problem})")


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
