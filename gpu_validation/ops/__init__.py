"""Autograd operations: the cells and choice blocks of each backend behind one signature."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, get_args

from gpu_validation.contracts import Backend
from nasbench_sim.errors import SpecError, unknown

_CELLS = {
    "reference": "gpu_validation.reference.nb201",
    "fused": "gpu_validation.ops.nb201_fused",
    "triton": "gpu_validation.ops.nb201_triton",
}


def nb201_cell(backend: str) -> Callable[..., Any]:
    """The NAS-Bench-201 cell of a backend, with the signature of `gpu_validation.reference.nb201.cell`.

    Only the asked module is imported. Raises `SpecError` for an unknown backend.

    >>> nb201_cell("reference").__module__
    'gpu_validation.reference.nb201'
    """
    if backend not in _CELLS:
        raise SpecError(unknown("backend", backend, get_args(Backend)))
    return import_module(_CELLS[backend]).cell  # type: ignore[no-any-return]
