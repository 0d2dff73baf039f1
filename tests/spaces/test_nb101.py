"""NAS-Bench-101 modules: pruning, validity and the official hash, one by one and in batches."""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nasbench_sim.errors import ArchError
from nasbench_sim.spaces import md5 as md5_module
from nasbench_sim.spaces import nb101_batch
from nasbench_sim.spaces.md5 import md5
from nasbench_sim.spaces.nb101 import (
    INPUT,
    OPS,
    OUTPUT,
    as_module,
    flaw,
    format_module,
    is_valid,
    labels,
    module_hash,
    on_a_path,
    parse_module,
    prune,
)
from nasbench_sim.spaces.nb101_batch import module_hashes, parse_modules, rows_of

CONV3, CONV1, POOL = OPS
CHAIN = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


@st.composite
def modules(draw: st.DrawFn, smallest: int = 2, largest: int = 7) -> tuple[np.ndarray, list[str]]:
    """Any module with a path from input to output, dead vertices included."""
    v = draw(st.integers(smallest, largest))
    matrix = np.triu(draw(arrays(np.int8, (v, v), elements=st.integers(0, 1))), 1)
    if not on_a_path(matrix).any():
        matrix[0, v - 1] = 1
    return matrix, [INPUT, *draw(st.lists(st.sampled_from(OPS), min_size=v - 2, max_size=v - 2)), OUTPUT]


def graphs(v: int) -> np.ndarray:
    """Every matrix `[n, v, v]` of at most 9 edges whose vertices are all on a path."""
    i, j = np.triu_indices(v, 1)
    bits = (np.arange(2 ** len(i))[:, None] >> np.arange(len(i)) & 1).astype(np.int8)
    bits = bits[bits.sum(axis=1) <= 9]
    out = np.zeros((len(bits), v, v), dtype=np.int8)
    out[:, i, j] = bits
    return out[on_a_path(out).all(axis=1)]


def labelled(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each of `matrices[n, v, v]` with all 3^(v - 2) operations."""
    v = matrices.shape[1]
    ops = np.array([(-1, *inner, -2) for inner in itertools.product(range(3), repeat=v - 2)], dtype=np.int8)
    return np.repeat(matrices, len(ops), axis=0), np.tile(ops, (len(matrices), 1))


def names(ops: np.ndarray) -> list[str]:
    return [INPUT, *(OPS[k] for k in ops[1:-1]), OUTPUT]


def test_hashes_published_with_their_modules() -> None:
    """The alphabetically first hash, as many projects print it, and the Inception-like cell of the official README."""
    matrix = np.zeros((7, 7), dtype=int)
    for i, j in ((0, 1), (0, 4), (0, 5), (1, 2), (2, 3), (2, 6), (3, 5), (4, 5), (5, 6)):
        matrix[i, j] = 1
    ops = [INPUT, CONV3, POOL, CONV3, CONV3, CONV1, OUTPUT]
    assert module_hash(matrix, ops) == "00005c142e6f48ac74fdcf73e3439874"
    inception = [[0, 1, 1, 1, 0, 1, 0], *([[0] * 6 + [1]] * 2), [0, 0, 0, 0, 1, 0, 0], *([[0] * 6 + [1]] * 2), [0] * 7]
    ops = [INPUT, CONV1, CONV3, CONV3, CONV3, POOL, OUTPUT]
    assert module_hash(inception, ops) == "28cfc7874f6d200472e1a9dcd8650aa0"


@pytest.mark.real
def test_every_module_of_the_sample_has_its_official_hash(shared_data: Path) -> None:
    with gzip.open(shared_data / "nb101_sample_108ep.csv.gz", "rt") as file:
        rows = [(row["module_hash"], row["arch"]) for row in csv.DictReader(file)]
    assert len(rows) == 151_644
    matrices, ops = parse_modules([text for _, text in rows])
    assert np.array_equal(module_hashes(matrices, ops), np.array([name for name, _ in rows], dtype="S32"))
    for name, text in rows[::1000]:
        matrix, single = parse_module(text)
        assert module_hash(matrix, single) == name
        assert format_module(matrix, single) == text
        assert is_valid(matrix, single)


def test_hashes_separate_exactly_the_graphs_that_differ() -> None:
    """All modules of up to 5 vertices: one hash for one class under brute-force relabelling; 1 + 6 + 84 + 2,441."""
    counts = {}
    for v in (2, 3, 4, 5):
        matrices, ops = labelled(graphs(v))
        canonical = [
            min(
                (matrix[np.ix_(p, p)].tobytes(), tuple(label[list(p)]))
                for inner in itertools.permutations(range(1, v - 1))
                for p in [(0, *inner, v - 1)]
            )
            for matrix, label in zip(matrices, ops, strict=True)
        ]
        pairs = set(zip(canonical, module_hashes(matrices, ops).tolist(), strict=True))
        assert len(pairs) == len(set(canonical)) == len({name for _, name in pairs})
        counts[v] = len(pairs)
    assert counts == {2: 1, 3: 6, 4: 84, 5: 2_441}


@pytest.mark.slow
def test_all_of_nas_bench_101_is_423624_hashes() -> None:
    total = 1  # input -> output
    for v in range(3, 8):
        every = graphs(v)
        _, first = np.unique(module_hashes(every, np.zeros(every.shape[:2], dtype=int)), return_index=True)
        total += len(np.unique(module_hashes(*labelled(every[first]))))
    assert total == 423_624


@given(modules(), st.randoms())
def test_the_order_of_inner_vertices_does_not_matter(module: tuple, random: Random) -> None:
    matrix, ops = module
    v = len(matrix)
    # a random order among those that keep every edge pointing forward
    order, left = [0], set(range(1, v - 1))
    while left:
        ready = [u for u in sorted(left) if not any(matrix[w, u] for w in left)]
        order.append(random.choice(ready))
        left.remove(order[-1])
    order.append(v - 1)
    assert module_hash(matrix[np.ix_(order, order)], [ops[u] for u in order]) == module_hash(matrix, ops)


@given(modules(largest=6), st.data())
def test_a_dead_vertex_does_not_matter(module: tuple, data: st.DataObject) -> None:
    matrix, ops = module
    v = len(matrix)
    at = data.draw(st.integers(1, v - 1))
    grown = np.insert(np.insert(matrix, at, 0, axis=0), at, 0, axis=1)
    side = data.draw(st.sampled_from(["from", "to", "alone"]))
    if side == "from":  # nothing leads on
        grown[:at, at] = data.draw(arrays(np.int8, at, elements=st.integers(0, 1)))
    elif side == "to":  # nothing leads there
        grown[at, at + 1 :] = data.draw(arrays(np.int8, v - at, elements=st.integers(0, 1)))
    more = [*ops[:at], data.draw(st.sampled_from(OPS)), *ops[at:]]
    assert module_hash(grown, more) == module_hash(matrix, ops)
    pruned, expected = prune(grown, more), prune(matrix, ops)
    assert np.array_equal(pruned[0], expected[0])
    assert pruned[1] == expected[1]


@given(modules())
def test_pruning_keeps_what_is_on_a_path(module: tuple) -> None:
    matrix, ops = module
    v = len(matrix)
    alive = sorted({u for path in _paths(matrix, 0, v - 1) for u in path})
    assert np.flatnonzero(on_a_path(matrix)).tolist() == alive
    pruned, left = prune(matrix, ops)
    assert left == tuple(ops[u] for u in alive)
    assert np.array_equal(pruned, matrix[np.ix_(alive, alive)])


def _paths(matrix: np.ndarray, here: int, last: int) -> list[tuple[int, ...]]:
    if here == last:
        return [(last,)]
    return [(here, *rest) for u in np.flatnonzero(matrix[here]).tolist() for rest in _paths(matrix, u, last)]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 7).flatmap(lambda v: st.lists(modules(v, v), min_size=1, max_size=12)))
def test_a_batch_equals_one_by_one(batch: list) -> None:
    matrices = np.stack([matrix for matrix, _ in batch])
    ops = np.array([labels(ops) for _, ops in batch])
    assert module_hashes(matrices, ops).tolist() == [module_hash(*module).encode() for module in batch]


def test_a_batch_longer_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices, ops = labelled(graphs(4))
    expected = module_hashes(matrices, ops)
    monkeypatch.setattr(nb101_batch, "CHUNK", 7)
    monkeypatch.setattr(md5_module, "LANES", 5)
    assert np.array_equal(module_hashes(matrices, ops), expected)
    assert expected[::9].tolist() == [
        module_hash(m, names(o)).encode() for m, o in zip(matrices[::9], ops[::9], strict=True)
    ]


@given(st.integers(0, 200), st.integers(1, 5), st.integers(0, 2**32))
def test_md5_is_that_of_hashlib(length: int, count: int, seed: int) -> None:
    messages = np.random.default_rng(seed).integers(0, 256, (count, length), dtype=np.uint8)
    assert [row.tobytes() for row in md5(messages)] == [hashlib.md5(row.tobytes()).digest() for row in messages]


def test_no_modules_have_no_hashes() -> None:
    assert module_hashes(np.zeros((0, 7, 7), dtype=int), np.zeros((0, 7), dtype=int)).shape == (0,)
    assert parse_modules([])[0].shape == (0, 7, 7)


def test_vertices_beyond_seven_are_fine_where_they_are_pruned() -> None:
    matrix = np.zeros((9, 9), dtype=int)
    matrix[0, 4] = matrix[4, 8] = matrix[0, 5] = 1
    ops = [INPUT, *[CONV3] * 3, POOL, *[CONV1] * 3, OUTPUT]
    expected = module_hash(CHAIN, [INPUT, POOL, OUTPUT])
    assert module_hash(matrix, ops) == expected
    assert module_hashes(matrix[None], [labels(ops)]).tolist() == [expected.encode()]
    assert is_valid(matrix, ops)


@pytest.mark.parametrize(
    ("matrix", "ops", "why"),
    [
        (np.triu(np.ones((5, 5), int), 1), [INPUT, *[POOL] * 3, OUTPUT], "at most 9 edges after pruning, this one 10"),
        (np.eye(8, k=1, dtype=int), [INPUT, *[POOL] * 6, OUTPUT], "at most 7 vertices after pruning, this one 8"),
        (CHAIN, [INPUT, "conv5x5", OUTPUT], "unknown operation 'conv5x5'"),
        (CHAIN, [POOL, POOL, OUTPUT], "starts with 'input'"),
        (CHAIN, [INPUT, INPUT, OUTPUT], "unknown operation 'input'"),
        ([[0, 1, 0], [0, 0, 0], [0, 0, 0]], [INPUT, POOL, OUTPUT], "not reached"),
    ],
)
def test_modules_outside_the_benchmark(matrix: list, ops: list, why: str) -> None:
    assert why in flaw(matrix, ops)
    assert not is_valid(matrix, ops)


@pytest.mark.parametrize(
    ("matrix", "ops", "why"),
    [
        ([[0, 1], [1, 0]], [INPUT, OUTPUT], "edge 1 -> 0"),
        ([[1, 1], [0, 0]], [INPUT, OUTPUT], "edge 0 -> 0"),
        ([[0, 2], [0, 0]], [INPUT, OUTPUT], "only 0 and 1"),
        ([[0, float("nan")], [0, 0]], [INPUT, OUTPUT], "only 0 and 1"),
        ([["0", "1"], ["0", "0"]], [INPUT, OUTPUT], "only 0 and 1"),
        ([[0, 1, 0], [0, 0, 1]], [INPUT, OUTPUT], "square"),
        ([[0, 1], [0]], [INPUT, OUTPUT], "different lengths"),
        ([[0]], [INPUT], "2 or more"),
        ([], [], "square"),
        (CHAIN, [INPUT, OUTPUT], "3 operations"),
        ([[0, 1], [0, 0]], "io", "2 operations"),
    ],
)
def test_what_is_no_module_is_refused(matrix: list, ops: list, why: str) -> None:
    for ask in (as_module, prune, is_valid, flaw, module_hash, format_module):
        with pytest.raises(ArchError, match=why):
            ask(matrix, ops)


def test_what_cannot_be_hashed_is_refused() -> None:
    with pytest.raises(ArchError, match="not reached"):
        module_hash(np.zeros((2, 2), int), [INPUT, OUTPUT])
    with pytest.raises(ArchError, match="did you mean 'maxpool3x3'"):
        module_hash(CHAIN, [INPUT, "maxpool", OUTPUT])
    with pytest.raises(ArchError, match="unknown operation 'x'"):
        format_module(CHAIN, [INPUT, "x", OUTPUT])


@pytest.mark.parametrize(
    ("matrices", "ops", "why"),
    [
        ([CHAIN, np.zeros((3, 3), int)], [[-1, 0, -2]] * 2, "module 1 of 2: its output"),
        ([CHAIN, CHAIN], [[-1, 0, -2], [-1, 3, -2]], "module 1 of 2: a label"),
        ([CHAIN], [[-1, 260, -2]], "a label"),
        ([np.eye(8, k=1, dtype=int)], [[0] * 8], "more than 7 vertices"),
        ([np.transpose(CHAIN)], [[-1, 0, -2]], "upper triangular"),
        ([np.multiply(CHAIN, 2)], [[-1, 0, -2]], "only 0 and 1"),
        (CHAIN, [-1, 0, -2], r"\[N, V, V\]"),
        ([CHAIN], [[-1, 0]], r"labels \[N, V\]"),
        ([CHAIN], [["a", "b", "c"]], r"integer labels"),
        ([np.multiply(CHAIN, 1.0)], [[-1, 0, -2]], "float64"),
    ],
)
def test_a_bad_row_of_a_batch_is_named(matrices: list, ops: list, why: str) -> None:
    with pytest.raises(ArchError, match=why):
        module_hashes(matrices, ops)


@given(modules())
def test_strings_round_trip(module: tuple) -> None:
    text = format_module(*module)
    matrix, ops = parse_module(text)
    assert np.array_equal(matrix, module[0])
    assert list(ops) == module[1]
    matrices, numbers = parse_modules([text])
    assert module_hashes(matrices, numbers).tolist() == [module_hash(*module).encode()]


@given(modules(), st.data())
def test_a_mutated_string_is_a_module_or_an_error_inside_it(module: tuple, data: st.DataObject) -> None:
    text = format_module(*module)
    at, cut = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 3))
    new = text[:at] + data.draw(st.text("01:i31po7?8\u00e9\u0663", max_size=3)) + text[at + cut :]
    try:
        parsed = parse_module(new)
    except ArchError as error:
        position = int(str(error).split("position ")[1].split(":")[0])
        assert 0 <= position <= len(new)
        with pytest.raises(ArchError, match="row 1"):
            parse_modules([text, new])
    else:
        assert format_module(*parsed) == new
        assert parse_modules([text, new])[0].sum() == module[0].sum() + parsed[0].sum()


@given(st.lists(st.integers(0, 20), unique=True, max_size=15), st.lists(st.integers(0, 20), max_size=20))
def test_rows_of_a_table(table: list[int], wanted: list[int]) -> None:
    names = np.array([f"{i:032x}" for i in range(21)], dtype="S32")
    rows = rows_of(names[np.array(wanted, dtype=int)], names[np.array(table, dtype=int)])
    assert rows.tolist() == [table.index(i) if i in table else -1 for i in wanted]
