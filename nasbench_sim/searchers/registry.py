"""One registry of methods: name -> recipe with paper, equation, deviations and what the paper leaves open.

A new method is one file in `recipes/` that calls `register` on its factory, and one import line in
`recipes/__init__.py`; every contract test then runs on it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import ConfigDict, ValidationError, validate_call

from nasbench_sim.errors import SpecError, unknown

#: a method's kind: what it looks at, hence what it is run on and which table of contract tests it passes
Family = Literal["differentiable", "sampling", "training-free", "black-box", "multi-objective", "ensemble"]
FAMILIES: tuple[str, ...] = get_args(Family)
Factory = Callable[..., Any]


@dataclass(frozen=True)
class Recipe:
    """A search method and where it comes from.

    `factory(**parameters)` makes the searcher; `paper`, `equation`, `deviations` and `unknowns` (what the paper does
    not state, hence a named parameter with a declared default) are shown by `methods show`. `test_params` shrink the
    method for the contract tests; `work` is its time a step relative to DARTS, used to order runs, never to decide
    numbers. `headline`: one of the few that `reproduce` runs where nothing else is asked for.
    """

    name: str
    factory: Factory
    title: str
    paper: str
    equation: str
    deviations: tuple[str, ...] = ()
    unknowns: tuple[str, ...] = ()
    test_params: Mapping[str, Any] = field(default_factory=dict)
    work: float = 1.0
    family: Family = "differentiable"
    headline: bool = False

    @property
    def summary(self) -> str:
        """First line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").split("\n")[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameter -> default."""
        return {p.name: p.default for p in inspect.signature(self.factory).parameters.values()}

    def make(self, **params: Any) -> Any:
        """The searcher; unknown parameters and impossible values raise `SpecError`."""
        for name in params:
            if name not in self.parameters:
                raise SpecError(f"method {self.name}: {unknown('parameter', name, self.parameters)}")
        for name, value in params.items():  # pydantic would take true for 1, and no method means NaN
            odd = isinstance(value, bool) and not isinstance(self.parameters[name], bool)
            if odd or (isinstance(value, float) and not math.isfinite(value)):
                raise SpecError(f"method {self.name}: {name} is {value}; give a finite number or a name")
        try:
            return validate_call(config=ConfigDict(arbitrary_types_allowed=True))(self.factory)(**params)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()
            )
            raise SpecError(f"method {self.name}: {problems}") from error

    def card(self) -> dict[str, Any]:
        """Everything about the method as plain data."""
        return {
            "name": self.name,
            "family": self.family,
            "title": self.title,
            "paper": self.paper,
            "equation": self.equation,
            "summary": self.summary,
            "deviations": list(self.deviations),
            "unknowns": list(self.unknowns),
            "parameters": self.parameters,
        }


_METHODS: dict[str, Recipe] = {}


def register(**about: Any) -> Callable[[Factory], Factory]:
    """Decorator: enter a factory into the registry under `name`."""

    def enter(factory: Factory) -> Factory:
        recipe = Recipe(factory=factory, **about)
        if recipe.name in _METHODS:
            raise ValueError(f"method {recipe.name} is registered twice")
        _METHODS[recipe.name] = recipe
        return factory

    return enter


def methods() -> dict[str, Recipe]:
    """All methods, name -> recipe.

    >>> methods()["gdas"].family
    'differentiable'
    """
    import nasbench_sim.searchers.recipes  # noqa: F401  (importing the recipes is what registers them)

    return dict(_METHODS)


def get_method(name: str) -> Recipe:
    """One method; raises `SpecError` naming the nearest known one."""
    known = methods()
    if name not in known:
        raise SpecError(unknown("method", name, known))
    return known[name]
