"""The NAS-Bench-201 space: three names of one cell (string, vector, index), other tools' orders, errors that point."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_sim.errors import ArchError
from nasbench_sim.spaces import NB201
from nasbench_sim.spaces.nb201 import EDGES, OPS

SPACE = NB201()
CELLS = st.integers(0, SPACE.size - 1)


def test_string_vector_and_index_agree_for_every_cell() -> None:
    parsed = np.array([SPACE.parse(s) for s in SPACE.strings])
    assert np.array_equal(parsed, SPACE.all)
    assert np.array_equal(SPACE.index(parsed), np.arange(15_625))
    assert np.array_equal(SPACE.at(np.arange(15_625)), SPACE.all)
    assert len(set(SPACE.strings)) == 15_625
    assert [SPACE.format(a) for a in parsed[::97]] == list(SPACE.strings[::97])


@pytest.mark.real
def test_official_order_is_that_of_the_original_files(shared_data: Path) -> None:
    for name in ("cifar10", "cifar100", "ImageNet16-120"):
        with (shared_data / "raw" / f"nasbench201_{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [r["arch str"] for r in rows] == list(SPACE.strings)
        assert [int(r["file id"]) for r in rows] == list(range(15_625))


@pytest.mark.real
def test_classes_are_the_published_partition(shared_data: Path) -> None:
    with gzip.open(shared_data / "nb201_200ep.csv.gz", "rt") as file:
        published = [row["unique_str"] for row in csv.DictReader(file)]
    number: dict[str, int] = {}
    assert SPACE.classes.tolist() == [number.setdefault(u, len(number)) for u in published]
    assert len(number) == 6_466


def test_number_of_classes() -> None:
    assert len(np.unique(SPACE.classes)) == 6_466


@given(CELLS, st.data())
def test_a_mutated_string_is_itself_or_an_error_inside_it(index: int, data: st.DataObject) -> None:
    text = SPACE.strings[index]
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    new = text[:at] + data.draw(st.text("|+~ noreskipcvxag_\n\u00e9", max_size=3)) + text[at + cut :]
    try:
        arch = SPACE.parse(new)
    except ArchError as error:
        found = re.search(r"position (\d+)", str(error))
        assert found is not None
        assert 0 <= int(found[1]) <= len(new)
    else:
        assert SPACE.format(arch) == new


@pytest.mark.parametrize("digits", ["00", "\uff10"])
def test_an_input_number_has_one_spelling(digits: str) -> None:
    with pytest.raises(ArchError, match="position 6"):
        SPACE.parse(f"|none~{digits}|+|none~0|none~1|+|none~0|none~1|none~2|")


@pytest.mark.parametrize(
    ("text", "position", "what"),
    [
        ("", 0, "expected '|operation~0'"),
        ("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", 1, "unknown operation 'conv'"),
        ("|none~1|+|none~0|none~1|+|none~0|none~1|none~2|", 6, "expected input node 0"),
        ("|none~0|-|none~0|none~1|+|none~0|none~1|none~2|", 8, "expected '+'"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2", 46, "expected '|'"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2||", 47, "unexpected text"),
    ],
)
def test_errors_point_at_the_character(text: str, position: int, what: str) -> None:
    with pytest.raises(ArchError, match=re.escape(f"position {position}: {what}")):
        SPACE.parse(text)


@given(st.lists(CELLS, min_size=1, max_size=5), st.permutations(range(5)), st.permutations(range(6)))
def test_convert_undoes_any_relabelling(cells: list[int], ops: list[int], edges: list[int]) -> None:
    ours = SPACE.at(np.array(cells))
    theirs = np.argsort(ops)[ours][..., edges]  # their operation k is our ops[k]; their edge j is our edges[j]
    back = SPACE.convert(theirs, ops=[OPS[k] for k in ops], edges=[EDGES[j] for j in edges])
    assert np.array_equal(back, ours)


def test_convert_refuses_a_wrong_set_of_names() -> None:
    with pytest.raises(ArchError, match="once"):
        SPACE.convert([0] * 6, ops=[*OPS[:4], "none"], edges=EDGES)
    with pytest.raises(ArchError, match="once"):
        SPACE.convert([0] * 6, ops=OPS, edges=["0-1"] * 6)
    with pytest.raises(ArchError, match="unknown operation name 'conv5'"):
        SPACE.convert([0] * 6, ops=[*OPS[:4], "conv5"], edges=EDGES)
    with pytest.raises(ArchError, match="unknown edge '3-0'"):
        SPACE.convert([0] * 6, ops=OPS, edges=["3-0", *EDGES[1:]])


@given(CELLS)
def test_neighbours_differ_in_one_edge(index: int) -> None:
    arch = SPACE.at(index)
    near = SPACE.neighbours(arch)
    assert near.shape == (24, 6)
    assert ((near != arch).sum(axis=1) == 1).all()
    assert len({tuple(n) for n in near.tolist()}) == 24


@given(CELLS)
def test_resolve_takes_all_three_names(index: int) -> None:
    assert SPACE.resolve(index) == index
    assert SPACE.resolve(np.int32(index)) == index
    assert SPACE.resolve(SPACE.strings[index]) == index
    assert SPACE.resolve(SPACE.at(index).tolist()) == index


@pytest.mark.parametrize("wrong", [-1, 15_625, True, 1.5, [1, 2, 3], [5, 0, 0, 0, 0, 0], [[0] * 6], "none"])
def test_resolve_refuses_what_is_no_cell(wrong: object) -> None:
    with pytest.raises(ArchError):
        SPACE.resolve(wrong)
