"""What can be built: decisions, options, encodings, string forms, isomorphism. No accuracies, no I/O."""

from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.spaces.base import Space
from nasbench_sim.spaces.nb201 import NB201

__all__ = ["NB201", "Space", "get_space"]

_SPACES = {"nb201": NB201}


def get_space(name: str) -> Space:
    """Search space by name; raises `SpecError` for an unknown one.

    >>> get_space("nb201").size
    15625
    """
    if name not in _SPACES:
        raise SpecError(unknown("search space", name, _SPACES))
    return _SPACES[name]()
