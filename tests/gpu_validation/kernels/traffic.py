"""Bytes that really move: of PyTorch operations by a dispatch mode, of interpreted kernels by their addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves


class Traffic(TorchDispatchMode):
    """Bytes of every operation: each tensor it takes is read once, each it makes is written once; views are free,
    and so is the poisoning of uninitialised memory."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        taken = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, torch.Tensor)]
        made = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        free = func.is_view or str(func).startswith(("aten.empty", "aten.detach", "aten.fill_"))
        if not free:
            name = str(func).removeprefix("aten.").removesuffix(".default")
            written = sum(_bytes(t) for t in made)
            if name.startswith(("zeros_like", "avg_pool2d_backward", "copy_")):
                taken = taken[: name.startswith("avg")] + taken[1:2] * name.startswith(
                    "copy"
                )  # only shapes of the rest
            self.bytes[name] += written + sum(_bytes(t) for t in taken)
            self.calls[name] += 1
        return out

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.bytes.values())


def _bytes(tensor: torch.Tensor) -> int:
    """Bytes of memory behind a tensor: an expanded one has fewer than elements."""
    n = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        n *= size if stride != 0 else 1
    return n


@contextmanager
def kernel_traffic() -> Iterator[Counter[str]]:
    """Distinct bytes that interpreted kernels read and write, a launch: what a perfect cache would still move."""
    from triton.runtime import interpreter

    count: Counter[str] = Counter()
    seen: dict[str, list[Any]] = {"read": [], "written": []}
    builder = type(interpreter.interpreter_builder)
    load, store, run = builder.create_masked_load, builder.create_masked_store, interpreter.GridExecutor.__call__

    def note(way: str, pointers: Any, mask: Any) -> None:
        where = np.broadcast_to(pointers.data, mask.data.shape)[mask.data]
        width = pointers.get_element_ty().primitive_bitwidth // 8
        seen[way].append(
            where.astype(np.uint64) * 16 + width
        )  # addresses have fewer than 60 bits, widths fewer than 16

    def loading(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        note("read", pointers, mask)
        return load(self, pointers, mask, *rest)

    def storing(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        note("written", pointers, mask)
        return store(self, pointers, value, mask, *rest)

    def running(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():  # the interpreter's own copies are no traffic of the kernel
            out = run(self, *args, **kwargs)
        for way, parts in seen.items():
            found = np.unique(np.concatenate([np.ravel(p) for p in parts])) if parts else np.zeros(0, dtype=np.uint64)
            count[f"{self.fn.__name__} {way}"] += int((found % 16).sum())
            parts.clear()
        return out

    builder.create_masked_load, builder.create_masked_store = loading, storing
    interpreter.GridExecutor.__call__ = running
    try:
        yield count
    finally:
        builder.create_masked_load, builder.create_masked_store = load, store
        interpreter.GridExecutor.__call__ = run
