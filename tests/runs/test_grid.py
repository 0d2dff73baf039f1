"""Grids: strict YAML, typos named with the nearest key, typed axes, cells in a fixed order, refusals before any run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import SharedWeightsParams
from nasbench_sim.runs.ablate_axes import check_params, read_axes, show
from nasbench_sim.runs.ablate_yaml import MAX_BYTES, parse_yaml, read_yaml
from nasbench_sim.runs.grid import MOST_CELLS, GridSpec, cells, describe, grid_axes, judged_role, load_grid, make_grid
from nasbench_sim.runs.spec import make_spec
from nasbench_sim.searchers import get_method
from nasbench_sim.tables.catalogue import open_table
from tests.synthetic import synthetic_table

TABLE = synthetic_table()
ROOT = Path(__file__).parents[2]
LEAF = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
PLAIN = st.recursive(LEAF | TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


def grid(**more: Any) -> GridSpec:
    """A small grid over two parameters of BaLeNAS."""
    axes = {"init_precision": [100, 1e4], "denominator": ["sqrt", "plain"]}
    return make_grid(**{"name": "small", "method": "balenas", "seeds": 2, "axes": axes, **more})


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXT, PLAIN, max_size=4))
def test_json_is_read_as_what_it_is(data: dict[str, Any]) -> None:
    assert parse_yaml(json.dumps(data)) == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e4", 1e4), ("1.0e4", 1e4), ("-2.5E-3", -2.5e-3), ("10", 10), ("+3", 3), (".5", 0.5), ("1.", 1.0),
        ("0:100", "0:100"), ("5:30", "5:30"), ("off", "off"), ("yes", "yes"), ("none", "none"), ("null", None),
        ("~", None), ("", None), ("true", True), ("'true'", "true"), ("010", "010"), ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"), (".inf", ".inf"), (".nan", ".nan"), ("<<", "<<"), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse_yaml(f"a: {text}\n")["a"]
    assert found == value and type(found) is type(value)


LAUGHS = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{y}: &{y} [{','.join(['*' + x] * 9)}]\n" for x, y in zip("abcdefghijk", "bcdefghijkl", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds: 1\nname: x\nseeds: 2\n", "line 3: key 'seeds' is given twice"),
        ("axes: {lr: [1], lr: [2]}", "key 'lr' is given twice"),
        ("a: &x [1]\nb: *x\n", "line 2: aliases"),
        (LAUGHS, "aliases"),
        ("a: !!python/object/apply:os.getcwd []", "not YAML"),
        ("a: !!python/name:os.getcwd", "not YAML"),
        ("a: !!binary aGVsbG8=", "bytes is not accepted"),
        ("a: !!timestamp 2026-01-01", "date is not accepted"),
        ("a: !!set {x}", "set is not accepted"),
        ("a: !!float .nan", "not a finite number"),
        ("a: {b: [1e999]}", "a.b: inf is not a finite number"),
        ("a: 99999999999999999999", "between -2^63 and 2^63"),
        ("a: " + "9" * 5000, "cannot be read"),
        ("? [1, 2]\n: 3", "a key is a name"),
        ("- 1\n- 2\n", "top level"),
        ("", "top level"),
        ("just text", "top level"),
        ("a: [1, 2", "line 1: not YAML"),
        ("a: b: c", "not YAML"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
        ("a: \x00", "not YAML"),
        ("[" * 20_000, "nested too deeply"),
    ],
)
def test_bad_yaml_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_cannot_be_read_name_themselves(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    (tmp_path / "typo.yaml").write_text("name: x\naxis: {lr: [1, 2]}\n")
    for name, said in (
        ("missing.yaml", "cannot be read"), (".", "is a folder"), ("latin.yaml", "not UTF-8"),
        ("large.yaml", "larger than"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=said):
            read_yaml(tmp_path / name)
    with pytest.raises(SpecError, match=r"typo\.yaml: .*did you mean 'axes'"):
        load_grid(tmp_path / "typo.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"axis": {}}, "unknown key 'axis'; did you mean 'axes'?"),
        ({"method": "balena"}, "unknown method 'balena'; did you mean 'balenas'?"),
        ({"axes": {"init_precison": [1, 2]}}, "unknown parameter 'init_precison'; did you mean 'init_precision'?"),
        ({"axes": {"landscape.onsett": [0.1, 0.2]}}, "did you mean 'onset'?"),
        ({"axes": {"run.epoch": [1, 2]}}, "unknown field of a run 'epoch'; did you mean 'epochs'?"),
        ({"axes": {"run.seeds": [1, 2]}}, "unknown field of a run 'seeds'"),
        ({"axes": {"denominator": ["sqrt", "plan"]}}, "did you mean 'plain'?"),
        ({"axes": {"samples": [1, "3"]}}, "samples: Input should be a valid integer, got '3'"),
        ({"axes": {"samples": [1, 2.5]}}, "samples: "),
        ({"axes": {"samples": [1, True]}}, "samples: "),
        ({"axes": {"lr": [1e-3, None]}}, "lr: Input should be a valid number, got None"),
        ({"axes": {"betas": [[0.5, 0.9], [0.5]]}}, "betas: "),
        ({"axes": {"lr": 3}}, "axes.lr: Input should be a valid list"),
        ({"axes": {"lr": [1e-3]}}, "axis lr has 1 value"),
        ({"axes": {"lr": []}}, "axis lr has 0 value"),
        ({"axes": {}}, "axes: "),
        ({"axes": {"init_precision": [1, 1.0]}}, "holds 1.0 twice"),
        ({"params": {"sample": 3}}, "did you mean 'samples'?"),
        ({"params": {"landscape.onset": 0.5}}, "is no parameter of a method"),
        ({"params": {"denominator": "sqrt"}}, "denominator has a fixed value and is an axis too"),
        ({"landscape_params": {"onsets": 0.5}}, "did you mean 'onset'?"),
        ({"landscape_params": {"onset": "late"}}, "landscape.onset: "),
        ({"baseline": {"denominater": "sqrt"}}, "unknown axis 'denominater'; did you mean 'denominator'?"),
        ({"baseline": {"init_precision": 7}}, "axis init_precision has no value 7.0; it has 100.0, 10000.0"),
        ({"method": None}, "give method: NAME"),
        ({"axes": {"method": ["darts", "balenas"]}}, "not both"),
        ({"method": None, "axes": {"method": ["darts", "balenas"], "samples": [1, 2]}},
         "method darts: unknown parameter 'samples'"),
        ({"method": None, "axes": {"method": ["darts", "balenas"]}, "params": {"samples": 2}},
         "method darts: unknown parameter 'samples'"),
        ({"method": None, "axes": {"method": ["darts", 3]}}, "holds names of methods"),
        ({"epochs": 3, "axes": {"run.epochs": [1, 2]}}, "epochs is given and run.epochs is an axis too"),
        ({"datasets": ["cifar10"], "axes": {"run.dataset": ["cifar10", "cifar10"]}}, "datasets is given"),
        ({"datasets": ["cifar10", "cifar10"]}, "holds a name twice"),
        ({"datasets": ["cifar11"]}, "did you mean 'cifar10'?"),
        ({"datasets": []}, "datasets: "),
        ({"landscape": "tabular", "axes": {"landscape.onset": [0.4, 0.5]}}, "tabular landscape has no parameters"),
        ({"landscape": "sharde"}, "landscape"),
        ({"seeds": 0}, "seeds: 0 asks for 0 seeds"),
        ({"seeds": "5:3"}, "seeds: 5:3 asks for -2 seeds"),
        ({"seeds": "many"}, "seeds: 'many' is neither"),
        ({"seeds": 10**9}, "1000000 can be run"),
        ({"seeds": [1, 1]}, "seeds are repeated"),
        ({"seeds": 2.5}, "seeds"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 2.0}, "epochs: "),
        ({"steps_per_epoch": -1}, "steps_per_epoch"),
        ({"mode": "one at a time"}, "mode: "),
        ({"metric": "tset"}, "did you mean 'test'?"),
        ({"name": "../up"}, "name: "),
        ({"name": ""}, "name: "),
        ({"axes": {"prior_precision": [1, 1e6]}}, "cell prior_precision=1000000.0"),
        ({"axes": {"lr": [1e-3 + i * 1e-6 for i in range(101)], "samples": list(range(1, 101))}}, "10,100 cells"),
        ({"axes": {f"landscape.{n}": [i / 1000 for i in range(999)] for n in ("onset", "noise", "scale", "lr_min")}
          | {"lr": [1.0 + i for i in range(999)]}}, "cells; at most 10,000"),
    ],
)  # fmt: skip
def test_what_is_impossible_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec = grid(**change)
        judged_role(spec, TABLE)
        cells(spec, TABLE)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_cells_come_in_the_order_of_the_axes() -> None:
    found = cells(grid(landscape=["shared", "tabular"], params={"samples": 2}, epochs=4), TABLE)
    assert [(c.panel.landscape, c.values["init_precision"], c.values["denominator"]) for c in found] == [
        (landscape, precision, denominator)
        for landscape in ("shared", "tabular") for precision in (100.0, 1e4) for denominator in ("sqrt", "plain")
    ]  # fmt: skip
    assert [c.number for c in found] == list(range(8))
    first = found[0].spec
    assert first.params == {"samples": 2, "init_precision": 100.0, "denominator": "sqrt"}
    assert (first.epochs, first.steps_per_epoch, first.seeds, first.table) == (4, 391, (0, 1), "synthetic")
    assert len({c.folder for c in found}) == 8 and found[0].folder.startswith("balenas-")
    assert describe(found[0]) == "init_precision=100.0, denominator=sqrt (cifar10, shared landscape)"


def test_equal_runs_have_equal_folders_and_other_runs_do_not() -> None:
    whole, number = grid(axes={"lr": [1, 2]}), grid(axes={"lr": [1.0, 2.0]})
    names = [[c.folder for c in cells(g, TABLE)] for g in (whole, number)]
    assert names[0] == names[1]
    assert cells(grid(seeds="0:2"), TABLE)[0].folder == cells(grid(seeds=[0, 1]), TABLE)[0].folder
    others = [grid(seeds=3), grid(seeds="1:3"), grid(epochs=3), grid(params={"samples": 1}), grid(dtype="float64")]
    folders = {cells(g, TABLE)[0].folder for g in [grid(), *others]}
    assert len(folders) == 6


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(2, 4), min_size=1, max_size=3), st.booleans())
def test_a_grid_has_every_combination_once(sizes: list[int], alone: bool) -> None:
    names = ("lr", "weight_decay", "landscape.noise")
    axes = {name: [(i + 1) / 100 for i in range(n)] for name, n in zip(names, sizes, strict=False)}
    found = cells(grid(method="darts", axes=axes, mode="one-at-a-time" if alone else "grid"), TABLE)
    assert len(found) == (1 + sum(n - 1 for n in sizes) if alone else math.prod(sizes))
    assert len({c.levels for c in found}) == len(found)
    centre = tuple(axis.baseline for axis in grid_axes(grid(method="darts", axes=axes)))
    if alone:
        assert found[0].levels == centre
        assert all(sum(a != b for a, b in zip(c.levels, centre, strict=True)) <= 1 for c in found)


def test_baselines_are_named_declared_or_first() -> None:
    def baselines(**more: Any) -> list[Any]:
        return [axis.values[axis.baseline] for axis in grid_axes(grid(**more))]

    assert baselines() == [1e4, "sqrt"]  # declared by the method
    assert baselines(baseline={"init_precision": 100, "denominator": "plain"}) == [100.0, "plain"]
    assert baselines(axes={"init_precision": [7, 8], "run.epochs": [10, 50], "betas": [[0.9, 0.9], [0.5, 0.999]]}) == [
        7.0, 50, [0.5, 0.999]
    ]  # fmt: skip
    onset = SharedWeightsParams.load().onset
    assert baselines(axes={"second_rate": [0.1, None], "landscape.onset": [0.99, onset]}) == [None, onset]
    # methods that declare different defaults have none in common
    two = {"method": None, "axes": {"method": ["darts", "bpnas"], "weight_decay": [0.5, 0, 1e-3]}}
    assert baselines(**two) == ["darts", 0.5]


def test_methods_may_be_an_axis_each_on_its_own_landscape() -> None:
    found = cells(grid(method=None, axes={"method": ["darts", "balenas"], "lr": [1e-4, 3e-4]}), TABLE)
    assert [c.spec.method for c in found] == ["darts", "darts", "balenas", "balenas"]
    assert {c.spec.landscape for c in found} == {"shared"} and len({c.panel for c in found}) == 1
    assert check_params({"lr": 1}, ["darts", "balenas"]) == {"lr": 1.0}


def test_the_judged_accuracy_is_one_that_the_table_reports() -> None:
    assert judged_role(grid(), TABLE) == "test" and judged_role(grid(metric="valid"), TABLE) == "valid"
    assert judged_role(grid(), open_table("nb201-analog")) == "accuracy"


def test_labels_are_short_and_tell_values_apart() -> None:
    axis = read_axes({"c": [None, 1, 1e-7]}, {}, ["bpnas"])[0]
    assert axis.labels == ("null", "1", "1e-07") and show({"a": 1}) == '{"a": 1}'
    assert MOST_CELLS == 10_000


@pytest.mark.parametrize("path", sorted((ROOT / "plots").glob("knobs_*.yaml")), ids=lambda p: p.stem)
def test_the_maps_of_knobs_stand_for_runs_that_are_possible(path: Path) -> None:
    spec, text = load_grid(path)
    assert spec.name == path.stem and f"nasbench-sim ablate plots/{path.name}" in text
    # their table is made by `gpu-validation train --all`; every setting is checked on one that is here
    here = spec.model_copy(update={"table": "synthetic", "datasets": ["cifar10"]})
    assert len(cells(here, synthetic_table())) == math.prod(len(values) for values in spec.axes.values())


@pytest.mark.parametrize("path", sorted((ROOT / "plots").glob("sensitivity_*.yaml")), ids=lambda p: p.stem)
def test_the_sensitivity_specs_stand_for_runs_that_are_possible(path: Path) -> None:
    spec, text = load_grid(path)
    assert spec.name == path.stem and f"nasbench-sim ablate plots/{path.name}" in text
    found = cells(spec, synthetic_table(name="nb201"))
    assert 4 <= len(found) <= 40
    if (ROOT / ".git").exists():  # the pictures are no part of the source distribution
        assert path.with_suffix(".png").is_file()


@pytest.mark.parametrize("method", ["balenas", "bpnas", "parsec"])
def test_every_open_parameter_is_swept(method: str) -> None:
    """But for the number of ensemble members, which the accuracy of the searched cell does not depend on."""
    specs = [load_grid(path)[0] for path in (ROOT / "plots").glob(f"sensitivity_{method}*.yaml")]
    swept = {name for spec in specs for name in (*spec.axes, *spec.params)}
    recipe = get_method(method)
    heads = " ".join(text.split(":")[0] for text in recipe.unknowns).replace(",", " ").split()
    open_ones = {name for name in recipe.parameters if name in heads}
    assert open_ones - {"members", "member_epochs"} <= swept and len(open_ones) >= 3


def test_a_fit_by_name_or_file_stands_for_its_numbers(tmp_path: Path) -> None:
    params = SharedWeightsParams.load(onset=0.123)
    path = tmp_path / "fit.json"
    path.write_text(json.dumps({"params": params.model_dump()}))
    grid = make_grid(
        name="g", table="nb201-analog", method="darts", seeds=1, landscape="shared",
        landscape_params={"fit": str(path), "noise": 0.25}, axes={"lr": [1e-4, 3e-4]},
    )  # fmt: skip
    for cell in cells(grid, open_table("nb201-analog")):
        assert cell.spec.landscape_params == {**params.model_dump(), "noise": 0.25}
    for wrong in ("nonsense", str(tmp_path / "none.json")):
        with pytest.raises(SpecError, match=r"unknown fit 'nonsense'|none.json holds no shared-weights parameters"):
            make_spec(
                method="darts", table="nb201-analog", dataset="cifar10", seeds=1, landscape="shared",
                landscape_params={"fit": wrong},
            )  # fmt: skip
