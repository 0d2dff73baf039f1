"""Metrics against scikit-learn, closed forms and the definitions written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, log_loss

from nasbench_sim.ensembles.metrics import TINY, accuracy, average, disagreement, ece, nll, oracle_accuracy, score
from nasbench_sim.errors import SpecError
from tests.ensembles.helpers import make

P = make(models=7, samples=400, classes=5, seed=3)
MEAN = average(P.probabilities)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows that sum to 1."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def ensembles(members: int = 4) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Random members `[M, 5, 3]` and labels `[5]`."""
    logits = arrays(np.float64, (members, 5, 3), elements=st.floats(-20, 20, width=32))
    return st.tuples(logits.map(softmax), arrays(np.int64, 5, elements=st.integers(0, 2)))


def test_likelihood_and_accuracy_are_those_of_scikit_learn() -> None:
    exact = MEAN / MEAN.sum(axis=1, keepdims=True)  # scikit-learn normalises, up to 1e-7 here
    assert nll(MEAN, P.labels) == pytest.approx(log_loss(P.labels, exact, labels=range(5)), rel=1e-6)
    assert accuracy(MEAN, P.labels) == pytest.approx(100 * accuracy_score(P.labels, MEAN.argmax(axis=1)))


def test_the_average_is_the_mean_in_float64() -> None:
    assert MEAN.dtype == np.float64
    assert np.allclose(MEAN, P.probabilities.astype(np.float64).mean(axis=0), rtol=1e-14)


def test_calibration_error_by_its_definition() -> None:
    """The loops of the definition, bin by bin, low < confidence <= high."""
    confidence, right = MEAN.max(axis=1), MEAN.argmax(axis=1) == P.labels
    for bins in (1, 10, 15):
        total = 0.0
        for low, high in itertools.pairwise(np.linspace(0, 1, bins + 1)):
            inside = (confidence > low) & (confidence <= high)
            if inside.any():
                total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
        assert ece(MEAN, P.labels, bins=bins) == pytest.approx(total, abs=1e-12)


def test_calibration_error_at_the_bounds_of_bins() -> None:
    """Confidences 0.5 (right) and 0.6 (wrong) stand in unlike bins: |1 - 0.5| / 2 + |0 - 0.6| / 2."""
    p = [[0.5, 0.5], [0.4, 0.6]]
    assert ece(p, [0, 0]) == pytest.approx(0.55)
    # 0.55 and 0.6 share (0.5, 0.6]: |1/2 - 0.575|; were 0.6 in the next bin it would be 0.525
    assert ece([[0.55, 0.45], [0.4, 0.6]], [0, 0]) == pytest.approx(0.075)
    assert ece([[1.0, 0.0], [1.0, 0.0]], [0, 0]) == 0


def test_a_calibrated_forecast_has_no_calibration_error() -> None:
    assert ece([[0.75, 0.25]] * 4, [0, 0, 0, 1]) == pytest.approx(0)


def test_a_probability_of_zero_is_finite() -> None:
    assert nll([[1.0, 0.0]], [1]) == pytest.approx(-np.log(TINY))
    assert nll(np.array([[1.0, 0.0]], dtype=np.float32), [1]) < 88


def test_disagreement_counts_pairs() -> None:
    votes = P.probabilities.argmax(axis=2)
    pairs = [np.mean(votes[i] != votes[j]) for i, j in itertools.combinations(range(len(votes)), 2)]
    assert disagreement(P.probabilities) == pytest.approx(np.mean(pairs))
    assert disagreement(P.probabilities[:1]) == 0
    assert disagreement(P.probabilities[[2, 2, 2]]) == 0


def test_oracle_is_at_least_the_best_member() -> None:
    best = max(accuracy(p, P.labels) for p in P.probabilities)
    assert best < oracle_accuracy(P.probabilities, P.labels) <= 100
    assert oracle_accuracy(P.probabilities[:1], P.labels) == accuracy(P.probabilities[0], P.labels)


@given(ensembles())
def test_the_ensemble_is_no_worse_than_its_mean_member(case: tuple[np.ndarray, np.ndarray]) -> None:
    """Jensen: -log of the mean <= mean of -log, on every split and for any members."""
    s = score(*case)
    assert s.nll <= s.member_nll + 1e-12
    assert s.gain >= -1e-12
    assert s.oracle_accuracy >= s.member_accuracy - 1e-12


@given(ensembles(), st.permutations(range(4)))
def test_the_order_of_members_does_not_matter(case: tuple[np.ndarray, np.ndarray], order: list[int]) -> None:
    members, labels = case
    a, b = score(members, labels), score(members[order], labels)
    assert a.nll == pytest.approx(b.nll, abs=1e-12)
    assert (a.disagreement, a.oracle_accuracy) == (b.disagreement, b.oracle_accuracy)


@given(ensembles(members=1), st.integers(2, 5))
def test_copies_of_one_member_change_nothing(case: tuple[np.ndarray, np.ndarray], copies: int) -> None:
    members, labels = case
    one, many = score(members, labels), score(members.repeat(copies, axis=0), labels)
    assert many.nll == pytest.approx(one.nll, abs=1e-12)
    assert many.gain == pytest.approx(0, abs=1e-12) and many.disagreement == 0


@pytest.mark.parametrize(
    ("p", "labels", "said"),
    [
        ([0.5, 0.5], [0], r"probabilities are an array \[I, C\]"),
        ([[0.5, 0.5]], [0, 1], "labels are 1 integers"),
        ([[0.5, 0.5]], [0.0], "labels are 1 integers"),
        ([[0.5, 0.5]], [2], "classes 0..1; found 2..2"),
        ([[0.5, 0.5]], [-1], "classes 0..1; found -1..-1"),
        (np.empty((0, 2)), np.empty(0, int), "none of them 0"),
    ],
)
def test_what_is_no_prediction_is_refused(p: object, labels: object, said: str) -> None:
    for metric in (nll, accuracy, ece):
        with pytest.raises(SpecError, match=said):
            metric(p, labels)


def test_what_is_no_ensemble_is_refused() -> None:
    for metric in (average, disagreement):
        with pytest.raises(SpecError, match=r"an array \[M, I, C\]"):
            metric(MEAN)
    with pytest.raises(SpecError, match="bins is at least 1"):
        ece(MEAN, P.labels, bins=0)
