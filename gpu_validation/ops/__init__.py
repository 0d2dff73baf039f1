"""Autograd functions over kernels and merged algebra, and the choice of who computes a cell."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from torch import Tensor

from nasbench_sim.errors import SpecError, unknown

_CELLS = {
    "reference": "gpu_validation.reference.nb201",
    "fused": "gpu_validation.ops.nb201_fused",
    "triton": "gpu_validation.ops.nb201_triton",
}
_CHOICES = {
    "reference": "gpu_validation.reference.nb1shot1",
    "fused": "gpu_validation.reference.nb1shot1",  # three options on one input: there is nothing to merge on a CPU
    "triton": "gpu_validation.ops.choice_triton",
}


def nb201_cell(backend: str) -> Callable[..., Tensor]:
    """`cell` of a backend, with the arguments of `gpu_validation.reference.nb201.cell`; imported when asked for.

    Raises `SpecError` for an unknown backend, and where `triton` is not installed.

    >>> nb201_cell("reference").__module__
    'gpu_validation.reference.nb201'
    """
    return _imported(backend, _CELLS, "cell")


def choice_block(backend: str) -> Callable[..., Tensor]:
    """`choice_block` of a backend, with the arguments of `gpu_validation.reference.nb1shot1.choice_block`.

    `fused` is the plain block: its three options share an input and nothing else. Raises as `nb201_cell`.

    >>> choice_block("fast")
    Traceback (most recent call last):
    nasbench_sim.errors.SpecError: unknown backend 'fast'. Known: reference, fused, triton
    """
    return _imported(backend, _CHOICES, "choice_block")


def _imported(backend: str, modules: dict[str, str], name: str) -> Callable[..., Tensor]:
    if backend not in modules:
        raise SpecError(unknown("backend", backend, modules))
    try:
        module = importlib.import_module(modules[backend])
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise SpecError("backend triton needs the package triton; install it or take backend fused") from None
    return cast(Callable[..., Tensor], getattr(module, name))
