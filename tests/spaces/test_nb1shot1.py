"""The NAS-Bench-1Shot1 spaces: published counts, the mapping to NAS-Bench-101, strings, and the real table."""

from __future__ import annotations

import csv
import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import ArchError, SpecError
from nasbench_sim.landscapes import Multilinear
from nasbench_sim.spaces import NB1Shot1, get_space, nb101
from nasbench_sim.spaces.nb1shot1 import OPS, PARENTS

SPACES = {number: NB1Shot1(number) for number in (1, 2, 3)}
ARCHS = st.sampled_from([1, 2, 3]).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, SPACES[n].size - 1)))


def connectivities(number: int) -> list[tuple[tuple[int, ...], ...]]:
    """Parents of nodes 1, ..., n and of the output, every choice: own enumeration."""
    return list(itertools.product(*(itertools.combinations(range(v), k) for v, k in enumerate(PARENTS[number], 1))))


def with_children(parents: tuple[tuple[int, ...], ...]) -> set[int]:
    """Intermediate nodes that some node takes as parent."""
    return {u for chosen in parents for u in chosen} - {0}


def used(parents: tuple[tuple[int, ...], ...]) -> set[int]:
    """Intermediate nodes that the output depends on, by recursion from it, as the published code traces back."""
    seen: set[int] = set()

    def trace(node: int) -> None:
        for u in parents[node - 1]:
            if u and u not in seen:
                seen.add(u)
                trace(u)

    trace(len(parents))
    return seen


@pytest.mark.parametrize(("number", "size", "graphs"), [(1, 14_580, 180), (2, 29_160, 360), (3, 1_312_200, 5_400)])
def test_configurations(number: int, size: int, graphs: int) -> None:
    space = get_space(f"nb1shot1-{number}")
    assert space.size == size == graphs * 3 ** SPACES[number].nodes
    assert len(connectivities(number)) == graphs
    assert sum(PARENTS[number]) == 9


@pytest.mark.parametrize(("number", "published"), [(1, 6_240), (2, 29_160), (3, 363_648)])
def test_published_counts_follow_two_rules(number: int, published: int) -> None:
    """Spaces 1 and 3 count operations of nodes with a child; space 2 of all nodes (by the rule of 1 and 3: 16,632)."""
    by_children = sum(3 ** len(with_children(parents)) for parents in connectivities(number))
    assert by_children == {1: 6_240, 2: 16_632, 3: 363_648}[number]
    assert published == (SPACES[2].size if number == 2 else by_children)


@pytest.mark.parametrize(
    ("number", "named", "matrices", "cells", "modules", "all_used"),
    [(1, 66, 48, 3_702, 2_685, 38), (2, 190, 164, 12_474, 7_773, 138), (3, 876, 596, 135_900, 55_854, 445)],
)
def test_distinct_graphs_and_modules(
    number: int, named: int, matrices: int, cells: int, modules: int, all_used: int
) -> None:
    """From the spaces' own modules: graphs of used nodes with and without their names, and their operations."""
    space = SPACES[number]
    archs = space.all[(space.all[:, list(space.op_decisions)] == 0).all(axis=1)]
    kept, pruned = set(), set()
    for arch in archs:
        matrix, ops = space.module(arch)
        kept.add((matrix.tobytes(), tuple(np.flatnonzero(nb101.on_a_path(matrix)).tolist())))
        pruned.add(nb101.prune(matrix, ops)[0].tobytes())
    assert (len(kept), len(pruned)) == (named, matrices)
    assert sum(3 ** (len(alive) - 2) for _, alive in kept) == cells
    assert sum(len(alive) == space.nodes + 2 for _, alive in kept) == all_used
    assert len(space.unique_hashes) == modules


def test_classes_number_the_sorted_hashes() -> None:
    for space in SPACES.values():
        assert np.array_equal(np.unique(space.classes), np.arange(len(space.unique_hashes)))
        assert np.array_equal(np.unique(space.unique_hashes), space.unique_hashes)
        assert (len(space.hashes), space.hashes.dtype) == (space.size, np.dtype("S32"))
        assert not space.hashes.flags.writeable
        assert not space.classes.flags.writeable
    assert np.array_equal(NB1Shot1(3).hashes[::997], SPACES[3].unique_hashes[SPACES[3].classes[::997]])


@settings(max_examples=300)
@given(ARCHS)
def test_an_architecture_is_its_module(case: tuple[int, int]) -> None:
    """The batched hashes against the module built alone from the string, which names all parents."""
    number, index = case
    space = SPACES[number]
    text = space.format(space.at(index))
    blocks = [block.split("~") for block in text.split("|")]
    parents = tuple(tuple(int(u) for u in names.split("+")) for _, names in blocks)
    assert tuple(len(p) for p in parents) == PARENTS[number]
    last = space.nodes + 1
    loose = np.zeros((last + 1, last + 1), dtype=int)
    for node, chosen in enumerate(parents, 1):
        loose[list(chosen), node] = 1
    ops = ["input", *(op for op, _ in blocks)]
    expected = nb101.module_hash(loose, ops)
    matrix, names = space.module(space.at(index))
    assert matrix.shape == (7, 7)
    assert nb101.flaw(matrix, names) == ""
    assert nb101.module_hash(matrix, names) == expected
    assert space.unique_hashes[space.classes[index]] == expected.encode()
    # traced back: only edges between used nodes are left, all of them
    alive = {0, *used(parents), last}
    assert matrix.sum() == sum(len(parents[node - 1]) for node in alive - {0})
    assert names[1 : 1 + space.nodes] == tuple(ops[1:-1])
    assert set(names[1 + space.nodes : -1]) <= {"conv1x1-bn-relu"}


def test_every_module_is_of_nas_bench_101() -> None:
    """Operations are valid by construction, so each graph once is enough: V <= 7 and E <= 9 after pruning."""
    for space in SPACES.values():
        archs = space.all[(space.all[:, list(space.op_decisions)] == 1).all(axis=1)]
        assert [nb101.flaw(*space.module(arch)) for arch in archs] == [""] * len(archs)


def test_decisions_options_and_marks() -> None:
    assert SPACES[2].decisions == (
        "op of node 1",
        "parents of node 2",
        "op of node 2",
        "parents of node 3",
        "op of node 3",
        "parents of node 4",
        "op of node 4",
        "parents of output",
    )
    assert "parents of node 2" not in SPACES[1].decisions  # both of 0 and 1
    assert SPACES[1].options[2] == ("0+1", "0+2", "1+2")
    assert SPACES[3].counts.tolist() == [3, 2, 3, 3, 3, 6, 3, 10, 3, 15]
    for space in SPACES.values():
        assert OPS == ("maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu")
        assert {space.options[d] for d in space.op_decisions} == {OPS}
        marked = {(space.decisions[d], space.options[d][k]) for d, k in np.argwhere(space.parametric)}
        nodes = range(1, space.nodes + 1)
        assert marked == {(f"op of node {i}", op) for i in nodes for op in OPS[1:]}
        assert not space.none.any()
        assert not space.skip.any()


@given(ARCHS)
def test_string_vector_and_index_agree(case: tuple[int, int]) -> None:
    number, index = case
    space = SPACES[number]
    arch = space.at(index)
    text = space.format(arch)
    assert np.array_equal(space.parse(text), arch)
    assert space.resolve(text) == space.resolve(arch) == index
    flipped = "|".join(f"{op}~{'+'.join(p.split('+')[::-1])}" for op, p in (b.split("~") for b in text.split("|")))
    assert np.array_equal(space.parse(flipped), arch)


@given(ARCHS, st.data())
def test_a_mutated_string_is_an_architecture_or_an_error_inside_it(case: tuple[int, int], data: st.DataObject) -> None:
    space = SPACES[case[0]]
    text = space.format(space.at(case[1]))
    at, cut = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 3))
    new = text[:at] + data.draw(st.text("|~+01234x\u00e9\n", max_size=3)) + text[at + cut :]
    try:
        arch = space.parse(new)
    except ArchError as error:
        assert "\n" not in str(error)
        assert 0 <= int(str(error).split("position ")[1].split(":")[0]) <= len(new)
    else:
        again = [block.split("~") for block in space.format(arch).split("|")]
        given_blocks = [block.split("~") for block in new.split("|")]
        assert [(op, sorted(p.split("+"))) for op, p in given_blocks] == [(op, p.split("+")) for op, p in again]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "position 0: expected 4 nodes and the output"),
        ("maxpool3x3~0|maxpool3x3~0+1|maxpool3x3~0+1|maxpool3x3~0+1|output~0", "position 65: parents '0' are none"),
        ("maxpool3x3~0|skip~0+1|maxpool3x3~0+1|maxpool3x3~0+1|output~0+1", "position 13: .* got 'skip'"),
        ("maxpool3x3~0|maxpool3x3~0+3|maxpool3x3~0+1|maxpool3x3~0+1|output~0+1", "position 24: parents '0[+]3'"),
        ("maxpool3x3~0|maxpool3x3|maxpool3x3~0+1|maxpool3x3~0+1|output~0+1", "position 13: expected 'operation~"),
        ("maxpool3x3~0|maxpool3x3~0+1|maxpool3x3~0+1|maxpool3x3~0+1|maxpool3x3~0+1", "expected output"),
        ("maxpool3x3~0|maxpool3x3~0+1|maxpool3x3~0+0|maxpool3x3~0+1|output~0+1", "parents '0[+]0'"),
    ],
)
def test_strings_that_are_refused(text: str, why: str) -> None:
    with pytest.raises(ArchError, match=why):
        SPACES[1].parse(text)


def test_unknown_spaces_are_refused() -> None:
    with pytest.raises(SpecError, match="did you mean 'nb1shot1-"):
        get_space("nb1shot1")
    with pytest.raises(SpecError, match="Known: 1, 2, 3"):
        NB1Shot1(4)


def test_rows_of_a_table_that_covers_a_part() -> None:
    space = SPACES[2]
    table = space.unique_hashes[::-3]
    rows = space.rows_in(table)
    there = np.isin(space.hashes, table)
    assert 0 < there.sum() < space.size
    assert np.array_equal(rows >= 0, there)
    assert np.array_equal(table[rows[there]], space.hashes[there])


@pytest.mark.parametrize("number", [1, 2])
def test_contraction_equals_the_sum_over_all_configurations(number: int) -> None:
    """Unequal option counts: value and gradient of a random table against sums over every configuration."""
    space = SPACES[number]
    random = np.random.default_rng(number)
    table = random.normal(size=space.size)
    theta = np.where(space.mask, random.random((3, space.D, space.K)), 0.0)
    theta /= theta.sum(axis=-1, keepdims=True)
    value, grad = Multilinear(table.reshape(tuple(space.counts))).value_and_grad(theta)
    chosen = np.stack([theta[:, d, space.all[:, d]] for d in range(space.D)])  # [D, S, A]
    assert np.allclose(value, (chosen.prod(axis=0) * table).sum(axis=-1), rtol=1e-10)
    expected = np.zeros_like(grad)
    for d in range(space.D):
        others = np.delete(chosen, d, axis=0).prod(axis=0) * table
        for k in range(space.counts[d]):
            expected[:, d, k] = others[:, space.all[:, d] == k].sum(axis=-1)
    assert np.allclose(grad, expected, atol=1e-12)


def test_a_seed_of_space_3_does_not_depend_on_its_batch() -> None:
    space = SPACES[3]
    random = np.random.default_rng(0)
    form = Multilinear(random.random(tuple(space.counts), dtype=np.float32))
    theta = np.where(space.mask, random.random((20, space.D, space.K), dtype=np.float32), np.float32(0))
    value, grad = form.value_and_grad(theta)
    for s in (0, 7, 19):
        alone = form.value_and_grad(theta[s : s + 1])
        assert np.array_equal(alone[0][0], value[s])
        assert np.array_equal(alone[1][0], grad[s])


Measured = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def measured(shared_data: Path) -> Measured:
    """Hashes `[R]`, validation and test errors `[R, 3]` (three runs, 108 epochs) of the public sample."""
    with gzip.open(shared_data / "nb101_sample_108ep.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    errors = [
        np.array([[1 - float(row[f"final_{split}_accuracy_r{run}"]) for run in range(3)] for row in rows])
        for split in ("validation", "test")
    ]
    return np.array([row["module_hash"] for row in rows], dtype="S32"), errors[0], errors[1]


@pytest.mark.real
@pytest.mark.parametrize(
    ("number", "covered", "test", "valid", "test_of_mean"),
    [
        (1, 802, 0.056090, 0.049780, 0.0600),
        (2, 3_212, 0.057592, 0.051583, 0.0609),  # the first two are the constants of the published code
        (3, 16_452, 0.055689, 0.050581, 0.0582),
    ],
)
def test_best_errors_of_the_sample(
    measured: Measured, number: int, covered: int, test: float, valid: float, test_of_mean: float
) -> None:
    names, valid_error, test_error = measured
    rows = np.unique(SPACES[number].rows_in(names))
    rows = rows[rows >= 0]
    assert len(rows) == covered
    assert test_error[rows].min() == pytest.approx(test, abs=5e-7)
    assert valid_error[rows].min() == pytest.approx(valid, abs=5e-7)
    assert test_error[rows].mean(axis=1).min() == pytest.approx(test_of_mean, abs=5e-5)


@pytest.mark.real
def test_covered_rows_are_exactly_those_of_the_public_list(shared_data: Path, measured: Measured) -> None:
    with gzip.open(shared_data / "nb1shot1_covered.csv.gz", "rt") as file:
        listed: list[dict[str, Any]] = list(csv.DictReader(file))
    assert len(listed) == 20_466
    for number, space in SPACES.items():
        names = np.array([row["module_hash"] for row in listed if row["space"] == str(number)], dtype="S32")
        assert np.array_equal(np.sort(names), np.intersect1d(space.unique_hashes, measured[0]))
