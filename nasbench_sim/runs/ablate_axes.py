"""What the name of an axis means, which type its values have, and which of them is the baseline.

`method` is the method itself; `landscape.NAME` a parameter of the shared landscape; `run.NAME` a field of the run
(`run.epochs`); any other name a parameter of the method, which every method of the grid must have. Values are checked
against the declared types strictly ("3" is not 3) and brought to one form (1 becomes 1.0 for a float), so that equal
runs have equal specifications.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.landscapes import SharedWeightsParams
from nasbench_sim.landscapes.shared_params import with_fit
from nasbench_sim.runs.spec import RunSpec
from nasbench_sim.searchers import Recipe, get_method

METHOD, LANDSCAPE, RUN = "method", "landscape.", "run."
#: fields of a run that are no axis: they have a place of their own, or hold for the whole grid
NOT_AXES = ("method", "params", "table", "landscape_params", "seeds")
#: columns of the results before and after those of the axes, which may not take their names
PLACE = ("cell", "dataset", "landscape")
MEASURED = ("seed", "role", "accuracy_percent", "skip_ratio", "failed")


class Axis(NamedTuple):
    """One axis: its name, its values as plain data, and which of them (position) the others are compared with."""

    name: str
    values: tuple[Any, ...]
    baseline: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The values as shown, see `show`."""
        return tuple(show(v) for v in self.values)


def show(value: Any) -> str:
    """A value in a few characters: numbers short, text as it is, all else as JSON.

    >>> show(10000.0), show(1e6), show(0.015625), show("sqrt"), show(None), show([0.5, 0.999])
    ('10000', '1e+06', '0.015625', 'sqrt', 'null', '[0.5, 0.999]')
    """
    if isinstance(value, bool) or value is None or isinstance(value, (list, dict)):
        return json.dumps(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def run_fields() -> tuple[str, ...]:
    """Fields of a run that an axis `run.NAME` may vary.

    >>> "epochs" in run_fields(), "seeds" in run_fields()
    (True, False)
    """
    return tuple(name for name in RunSpec.model_fields if name not in NOT_AXES)


def read_axes(
    axes: Mapping[str, Sequence[Any]], baseline: Mapping[str, Any], methods: Sequence[str]
) -> tuple[Axis, ...]:
    """Axes with typed values and a baseline each, in the order given.

    The baseline of an axis is the one named, else the default that all methods (the shared landscape, the run) declare
    where it is among the values, else the first value. Raises `SpecError` for an unknown name or method, a value of
    the wrong type, one that is there twice, an axis of fewer than two values, and a baseline that is not on its axis.

    >>> read_axes({"init_precision": [1, 1e4], "run.epochs": [25, 50]}, {}, ["balenas"])[0]
    Axis(name='init_precision', values=(1.0, 10000.0), baseline=1)
    """
    recipes = [get_method(name) for name in methods]
    for name in baseline:
        if name not in axes:
            raise SpecError(f"baseline: {unknown('axis', name, axes)}")
    out = []
    for name, raw in axes.items():
        _check_name(name, recipes)
        if name in PLACE + MEASURED:
            raise SpecError(f"{name} is a column of the results and cannot be an axis")
        values = tuple(typed(name, value, recipes) for value in raw)
        if len(values) < 2:
            raise SpecError(f"axis {name} has {len(values)} value; give two or more, or move it to the fixed settings")
        texts = [json.dumps(v, sort_keys=True) for v in values]
        for text in texts:
            if texts.count(text) > 1:
                raise SpecError(f"axis {name} holds {text} twice, so cells would appear twice; give each value once")
        chosen = _default(name, recipes)
        if name in baseline:
            chosen = json.dumps(typed(name, baseline[name], recipes), sort_keys=True)
            if chosen not in texts:
                raise SpecError(f"baseline: axis {name} has no value {chosen}; it has {', '.join(texts)}")
        out.append(Axis(name, values, texts.index(chosen) if chosen in texts else 0))
    return tuple(out)


def check_params(params: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """Fixed parameters of the methods in their declared types; raises `SpecError` as `read_axes` does.

    >>> check_params({"init_precision": 100}, ["balenas"])
    {'init_precision': 100.0}
    """
    recipes = [get_method(name) for name in methods]
    for name in params:
        if name == METHOD or name.startswith((LANDSCAPE, RUN)):
            raise SpecError(f"params: {name!r} is no parameter of a method; landscape_params and epochs are keys")
        _check_name(name, recipes)
    return {name: typed(name, value, recipes) for name, value in params.items()}


def check_landscape(params: Mapping[str, Any]) -> dict[str, Any]:
    """Fixed parameters of the shared landscape in their declared types; raises `SpecError` as `read_axes` does."""
    with_fit(params)
    named = {"fit": params["fit"]} if "fit" in params else {}  # becomes numbers in the specification of each cell
    for name in params:
        if name not in named:
            _check_name(LANDSCAPE + name, [])
    return named | {n: typed(LANDSCAPE + n, value, []) for n, value in params.items() if n not in named}


def _check_name(name: str, recipes: Sequence[Recipe]) -> None:
    if name == METHOD:
        return
    if name.startswith(LANDSCAPE):
        inner = name.removeprefix(LANDSCAPE)
        if inner not in SharedWeightsParams.model_fields:
            raise SpecError(unknown("parameter of the shared landscape", inner, SharedWeightsParams.model_fields))
        return
    if name.startswith(RUN):
        inner = name.removeprefix(RUN)
        if inner not in run_fields():
            raise SpecError(unknown("field of a run", inner, run_fields()))
        return
    for recipe in recipes:
        if name not in recipe.parameters:
            raise SpecError(f"method {recipe.name}: {unknown('parameter', name, recipe.parameters)}")


def typed(name: str, value: Any, recipes: Sequence[Recipe]) -> Any:
    """`value` as plain data of the type that `name` declares; raises `SpecError` naming both.

    >>> typed("denominator", "plain", [get_method("balenas")])
    'plain'
    """
    if name == METHOD:
        if not isinstance(value, str):
            raise SpecError(f"axis method: {value!r} is not the name of a method")
        return get_method(value).name
    for annotation in _annotations(name, recipes):
        value = _as(annotation, value, name)
    return value


def _annotations(name: str, recipes: Sequence[Recipe]) -> list[Any]:
    if name.startswith(LANDSCAPE):
        return [SharedWeightsParams.model_fields[name.removeprefix(LANDSCAPE)].annotation]
    if name.startswith(RUN):
        return [RunSpec.model_fields[name.removeprefix(RUN)].annotation]
    return [get_type_hints(recipe.factory).get(name, Any) for recipe in recipes]


def _as(annotation: Any, value: Any, name: str) -> Any:
    choices = _choices(annotation)
    if choices and not any(value == c and type(value) is type(c) for c in choices):
        raise SpecError(f"{name}: {unknown('value', value, choices)}")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    except PydanticSchemaGenerationError:  # a type that pydantic does not know: only its instances pass
        adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    try:  # strict as JSON is: a list may be a tuple and 1 may be 1.0, but "3" is not 3 and true is not 1
        return adapter.dump_python(adapter.validate_json(json.dumps(value), strict=True), mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(f"{name}: {first['msg']}, got {value!r}") from error


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a `Literal`, also where None may stand for it; nothing for other types."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        inner = get_args(annotation)
        if all(get_origin(i) is Literal or i is type(None) for i in inner):
            return tuple(v for i in inner for v in (get_args(i) or (None,)))
    return ()


def _default(name: str, recipes: Sequence[Recipe]) -> str | None:
    """The declared default as JSON text, None where there is none or methods disagree."""
    if name == METHOD:
        return None
    if name.startswith(LANDSCAPE):
        found = [getattr(SharedWeightsParams.load(), name.removeprefix(LANDSCAPE))]
    elif name.startswith(RUN):
        field = RunSpec.model_fields[name.removeprefix(RUN)]
        found = [] if field.is_required() else [field.get_default(call_default_factory=True)]
    else:
        found = [recipe.parameters[name] for recipe in recipes]
    try:
        texts = {json.dumps(typed(name, json.loads(json.dumps(v)), recipes), sort_keys=True) for v in found}
    except (SpecError, TypeError):  # a parameter without a default
        return None
    return texts.pop() if len(texts) == 1 else None
