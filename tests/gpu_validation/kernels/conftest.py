"""Kernels on whatever is here: compiled on a GPU, interpreted without one.

Triton decides when it is imported, so it is imported here, with TRITON_INTERPRET=1 for as long as that takes: other
tests of the same process see neither the variable nor a difference (nothing else of the project needs Triton on a CPU).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

HAS_GPU = torch.cuda.is_available()
TOO_LATE = ""

if not HAS_GPU:
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        TOO_LATE = "Triton was imported before these tests could switch its interpreter on: run them first or alone"
    else:
        _before = os.environ.get("TRITON_INTERPRET")
        os.environ["TRITON_INTERPRET"] = "1"
        for _name in (
            "gpu_validation.ops.choice_triton",
            "gpu_validation.ops.nb201_triton",
            "gpu_validation.ops.stacked_update",
            "tests.gpu_validation.kernels.address_kernel",
        ):
            importlib.import_module(_name)
        if _before is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = _before


@pytest.fixture(scope="session", autouse=True)
def _interpreter() -> Iterator[None]:
    """The interpreter, four times as fast: its language is patched once, not at every call of a helper, and integer
    overflow is not looked for (`test_statistics` looks for it where it could happen)."""
    if TOO_LATE:
        pytest.fail(TOO_LATE)
    if HAS_GPU:
        yield
        return
    from triton.runtime import interpreter

    original, options = interpreter.InterpretedFunction.__call__, interpreter.interpreter_builder.options
    patched: set[str] = set()

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        module = self.fn.__module__
        if module.startswith("triton") and module not in patched:  # patches what the module calls `core`, for good
            patched.add(module)
            return original(self, *args, **kwargs)
        return self.rewrite()(*args, **kwargs)

    interpreter.InterpretedFunction.__call__ = call
    interpreter.interpreter_builder.options = replace(options, sanitize_overflow=False)
    yield
    interpreter.InterpretedFunction.__call__ = original
    interpreter.interpreter_builder.options = options


@pytest.fixture(autouse=True)
def _switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch stays on during these tests: some of Triton is imported at its first launch."""
    if not HAS_GPU:
        monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uninitialised memory is NaN, or 255: a read of it shows."""

    def poisoned(make: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> torch.Tensor:
            out: torch.Tensor = make(*args, **kwargs)
            return out.fill_(float("nan") if out.is_floating_point() else 255)

        return wrapped

    for name in ("empty", "empty_like", "empty_strided"):
        monkeypatch.setattr(torch, name, poisoned(getattr(torch, name)))


@pytest.fixture
def device() -> str:
    """Where the kernels run here."""
    return "cuda" if HAS_GPU else "cpu"
