"""Noise is a pure function of (seed, purpose, step): independent of company, history and shape of the batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nasbench_sim.streams import Streams


@settings(max_examples=30, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**62), min_size=1, max_size=6, unique=True),
    step=st.integers(0, 5000),
    kind=st.sampled_from(["normal", "uniform"]),
)
def test_a_seed_alone_equals_its_row_in_any_batch(seeds: list[int], step: int, kind: str) -> None:
    together = getattr(Streams(seeds), kind)("p", step, (3, 5))
    for row, seed in enumerate(seeds):
        alone = Streams([seed])
        getattr(alone, kind)("p", 17, (3, 5))  # history must not matter
        assert np.array_equal(getattr(alone, kind)("p", step, (3, 5))[0], together[row])


def test_purposes_kinds_steps_and_seeds_differ() -> None:
    s = Streams([1, 2])
    draws = [s.normal("a", 0, (50,)), s.normal("b", 0, (50,)), s.normal("a", 1, (50,)), s.uniform("a", 0, (50,))]
    flat = [d[0] for d in draws] + [draws[0][1]]
    for i in range(len(flat)):
        for j in range(i):
            assert not np.array_equal(flat[i], flat[j])


def test_distribution_across_seeds_and_across_steps() -> None:
    many = Streams(range(4000)).normal("x", 3, (2,))
    long = np.concatenate([Streams([5]).normal("x", t, (2,))[0] for t in range(4000)])
    for sample in (many.ravel(), long):
        assert stats.kstest(sample, "norm").pvalue > 1e-3
    # neighbouring seeds and neighbouring steps are uncorrelated: |r| < 4 / sqrt(n)
    assert abs(np.corrcoef(many[:-1, 0], many[1:, 0])[0, 1]) < 4 / np.sqrt(4000)
    assert abs(np.corrcoef(long[:-1], long[1:])[0, 1]) < 4 / np.sqrt(8000)


def test_draws_are_read_only_and_seeds_non_negative() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Streams([1]).normal("x", 0, (2,))[0] = 0
    with pytest.raises(ValueError, match=">= 0"):
        Streams([-1])
