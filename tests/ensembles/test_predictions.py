"""What predictions have to be, and who may be asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from nasbench_sim.ensembles import Predictions, PredictionSource, check_partner
from nasbench_sim.errors import ArchError, NotMeasured, SpecError
from nasbench_sim.spaces import NB201
from tests.ensembles.helpers import CELLS, make, reordered

GOOD: dict[str, Any] = {
    "probabilities": [[[0.9, 0.1], [0.2, 0.8]]],
    "labels": [0, 1],
    "archs": [[1, 2]],
    "space": "toy",
    "dataset": "noise",
    "split": "valid",
    "seeds": [777],
    "source": "made for a test",
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"probabilities": [[[0.9, 0.2], [0.2, 0.8]]]}, r"model 0, sample 0 sums to 1\.1"),
        ({"probabilities": [[[0.5, 0.5], [0.2, 0.7]]]}, r"model 0, sample 1 sums to 0\.9"),
        ({"probabilities": [[[0.5, 0.5], [-0.5, 1.5]]]}, r"sample 1 holds -0\.5"),
        ({"probabilities": [[[0.5, 0.5], [np.nan, 1.0]]]}, "sample 1 holds NaN or infinity"),
        ({"probabilities": [[[0.5, 0.5], [np.inf, 1.0]]]}, "sample 1 holds NaN or infinity"),
        ({"probabilities": [[[0.5, 0.5], [1e300, 1.0]]]}, "sample 1 holds NaN or infinity"),
        ({"probabilities": [[[3.1, -2.0], [0.1, 4.0]]]}, "from_logits takes logits"),
        ({"probabilities": [[[1.0], [1.0]]]}, "classes >= 2"),
        ({"probabilities": [[0.9, 0.1]]}, r"\[models, samples, classes"),
        ({"probabilities": [[["a", "b"]]]}, "are numbers"),
        ({"probabilities": np.empty((0, 2, 2))}, r"\(0, 2, 2\)"),
        ({"labels": [0, 2]}, r"labels lie in 0\.\.1; entry 1 is 2"),
        ({"labels": [-1, 0]}, r"labels lie in 0\.\.1; entry 0 is -1"),
        ({"labels": [0]}, "labels are 2 integers"),
        ({"labels": [0.0, 1.0]}, "labels are 2 integers; got float64"),
        ({"archs": [[1, -2]]}, "option numbers >= 0"),
        ({"archs": [[1, 2], [1, 3]]}, "2 architectures for the probabilities of 1 models"),
        ({"archs": [5]}, "option numbers >= 0"),  # indices need a space of ours
        ({"archs": [[1.5, 2.0]]}, "option numbers >= 0"),
        ({"archs": [[1, 2]], "space": "nb201"}, "has 6 decisions"),
        ({"archs": [[1, 2, 0, 0, 0, 5]], "space": "nb201"}, "option 5 at decision 5"),
        ({"archs": [15_625], "space": "nb201"}, r"integer in 0\.\.15624"),
        ({"seeds": [-2]}, r"seeds lie in -1\.\.; entry 0 is -2"),
        ({"seeds": 777}, "seeds are 1 integers"),
        ({"split": "train"}, "unknown split of predictions 'train'"),
        ({"dataset": ""}, "dataset of predictions is one line"),
        ({"source": "two\nlines"}, "source of predictions is one line"),
        ({"space": 5}, "space of predictions is one line"),
    ],
)
def test_bad_predictions_are_refused_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises((SpecError, ArchError), match=said) as caught:
        Predictions(**{**GOOD, **change})
    assert "\n" not in str(caught.value)


def test_the_same_model_twice_is_refused_and_two_training_seeds_are_not() -> None:
    twice = {"probabilities": GOOD["probabilities"] * 2, "archs": [[1, 2]] * 2}
    with pytest.raises(SpecError, match=r"rows 0 and 1 are the same architecture and training seed \(777\)"):
        Predictions(**{**GOOD, **twice, "seeds": [777, 777]})
    assert len(Predictions(**{**GOOD, **twice, "seeds": [777, 888]})) == 2
    assert len(Predictions(**{**GOOD, **twice, "seeds": [-1, -1]})) == 2  # not stated: they may differ


def test_the_tolerance_takes_float32_and_refuses_three_decimals() -> None:
    exact = np.random.default_rng(0).dirichlet(np.full(100, 0.3), (1, 50))
    given = {**GOOD, "labels": np.zeros(50, int)}
    Predictions(**{**given, "probabilities": exact.astype(np.float32)})
    with pytest.raises(SpecError, match="sums to"):
        Predictions(**{**given, "probabilities": exact.round(3)})


def test_arrays_are_ours_and_read_only() -> None:
    mine = np.array(GOOD["probabilities"], dtype=np.float32)
    p = Predictions(**{**GOOD, "probabilities": mine})
    mine[0, 0] = [0.0, 1.0]
    assert p.probabilities[0, 0].tolist() == pytest.approx([0.9, 0.1])
    assert not any(a.flags.writeable for a in (p.probabilities, p.labels, p.archs, p.seeds, p.truth))


def test_logits_far_from_zero_are_stable() -> None:
    logits = np.array([[[1e5, 1e5 - 2, -1e5], [-3e4, 0.0, 1.0]]])
    p = Predictions.from_logits(logits, **{k: v for k, v in GOOD.items() if k != "probabilities"})
    assert np.allclose(p.probabilities, np.exp(log_softmax(logits, axis=-1)), atol=1e-7)
    with pytest.raises(SpecError, match="logits are finite"):
        Predictions.from_logits([[[np.nan, 1.0]]], **{k: v for k, v in GOOD.items() if k != "probabilities"})


def test_official_indices_are_architectures() -> None:
    p = make(models=3, archs=[9930, 6111, 0], space="nb201", seeds=[1, 1, 1])
    assert p.archs.tolist() == NB201().at([9930, 6111, 0]).tolist()
    assert p.rows([0, 9930]).tolist() == [2, 0]
    assert p.rows(NB201().at([6111])).tolist() == [1]


def test_predictions_are_a_source_of_predictions() -> None:
    p = make()
    source: PredictionSource = p
    assert np.array_equal(source.predict(CELLS[[5, 2, 5]]), p.probabilities[[5, 2, 5]])


def test_what_has_no_predictions_raises_and_is_not_filled_in() -> None:
    p = make(models=10)
    with pytest.raises(NotMeasured, match="no predictions of architecture 3 3 among the 10 models"):
        p.predict([[0, 1], [3, 3]])
    with pytest.raises(ArchError, match="have 2 decisions"):
        p.predict([[0, 1, 2]])


def test_several_training_seeds_have_to_be_chosen() -> None:
    p = make(models=32)
    with pytest.raises(NotMeasured, match="has 2 models \\(training seeds 777, 778\\); choose one seed"):
        p.predict(CELLS[:1])
    assert np.array_equal(p.with_seed(778).predict(CELLS[:1])[0], p.probabilities[16])
    with pytest.raises(NotMeasured, match=r"unknown training seed '779'.*Known: 777, 778"):
        p.with_seed(779)


def test_groups_list_every_model_once() -> None:
    p = reordered(make(models=32), np.random.default_rng(1).permutation(32))
    archs, rows = p.groups
    assert sorted(np.concatenate(rows).tolist()) == list(range(32))
    assert all((p.archs[r] == arch).all() for arch, r in zip(archs, rows, strict=True))


def test_a_subset_is_what_it_says() -> None:
    p = make()
    some = p.subset([4, 1])
    assert np.array_equal(some.archs, p.archs[[4, 1]]) and np.array_equal(some.probabilities, p.probabilities[[4, 1]])
    for rows in ([4, 4], [16], [-1], []):
        with pytest.raises(SpecError):
            p.subset(rows)


def test_the_digest_names_the_content() -> None:
    p = make()
    changed = [
        make(seed=1),
        make(split="test"),
        make(dataset="other"),
        make(source="another test"),
        reordered(p, np.roll(np.arange(16), 1)),
    ]
    assert make().sha256 == p.sha256
    assert len({p.sha256, *(q.sha256 for q in changed)}) == 6


def test_partners_are_the_same_models_on_another_split() -> None:
    valid, test = make(), make(seed=5, split="test")
    check_partner(valid, test)
    mixed = reordered(test, np.array([1, 0, *range(2, 16)]))
    for other, said in (
        (make(seed=5), "these are of 'valid'"),
        (make(seed=5, split="test", dataset="x"), "differ in dataset"),
        (make(seed=5, split="test", space="x"), "differ in space"),
        (make(models=15, seed=5, split="test"), "16 models in the validation file and 15"),
        (mixed, r"row 0 is 0 0 \(training seed 777\) in the validation file and 0 1"),
        (make(seed=5, split="test", seeds=np.full(16, 3)), r"row 0 .* \(seed 3\) in the test file"),
        (make(seed=5, split="test", classes=4), "numbers of classes"),
        (make(split="test"), "hold the same predictions"),
    ):
        with pytest.raises(SpecError, match=said):
            check_partner(valid, other)
