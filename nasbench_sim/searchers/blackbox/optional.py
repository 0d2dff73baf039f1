"""Libraries that only some searches need: imported when asked for, missed with one line that says how to get them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from nasbench_sim.errors import SpecError

INSTALL = "pip install 'nasbench-sim[blackbox]'"


def need(module: str, method: str) -> ModuleType:
    """The module, imported; raises `SpecError` naming the extra that brings it.

    >>> need("sklearn_of_another_world", "gp-bo")
    Traceback (most recent call last):
    ...
    nasbench_sim.errors.SpecError: gp-bo needs sklearn_of_another_world, which is not installed; pip install \
'nasbench-sim[blackbox]'
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise SpecError(f"{method} needs {package}, which is not installed; {INSTALL}") from error
