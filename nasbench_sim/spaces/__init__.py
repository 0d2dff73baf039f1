"""What can be built: decisions, options, encodings, string forms, isomorphism. No accuracies, no I/O."""

from collections.abc import Callable
from functools import partial

from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.spaces.base import Space
from nasbench_sim.spaces.nb1shot1 import NB1Shot1
from nasbench_sim.spaces.nb201 import NB201

__all__ = ["NB201", "NB1Shot1", "Space", "get_space"]

_SPACES: dict[str, Callable[[], Space]] = {
    "nb201": NB201,
    **{f"nb1shot1-{number}": partial(NB1Shot1, number) for number in (1, 2, 3)},
}


def get_space(name: str) -> Space:
    """Search space by name; raises `SpecError` for an unknown one.

    >>> get_space("nb201").size, get_space("nb1shot1-3").size
    (15625, 1312200)
    """
    if name not in _SPACES:
        raise SpecError(unknown("search space", name, _SPACES))
    return _SPACES[name]()
