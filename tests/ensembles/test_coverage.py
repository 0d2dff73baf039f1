"""Which model speaks for a cell."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_sim.ensembles import coverage, nes_bs
from nasbench_sim.ensembles.posterior import PosteriorSample
from nasbench_sim.errors import SpecError
from nasbench_sim.spaces import NB201
from tests.ensembles.helpers import make
from tests.ensembles.synthetic import class_cells, make_pair

SPACE = NB201()


def test_one_model_a_class_speaks_for_all_cells() -> None:
    cells = class_cells()
    found = coverage(make(models=len(cells), samples=2, archs=cells, space="nb201", seeds=np.zeros(len(cells), int)))
    rows = found.rows(SPACE.all)
    assert (cells[rows] == cells[SPACE.classes]).all()  # the model of each cell is of the first cell of its class
    assert len(found.archs) == 15_625 and found.base.tolist() == list(range(len(cells)))


def test_own_models_first_then_the_first_of_the_class_then_none() -> None:
    same = np.nonzero(SPACE.classes == np.bincount(SPACE.classes).argmax())[0][:3]
    other = int(np.nonzero(SPACE.classes != SPACE.classes[same[0]])[0][0])
    found = coverage(make(models=2, archs=same[[2, 1]], space="nb201"))
    assert found.rows(SPACE.at(same)).tolist() == [1, 1, 0]  # cell 0 has none: the first trained cell of the class
    assert found.rows(SPACE.at([other])).tolist() == [-1]
    assert found.rows(np.full((2, 1, 6), -1)).tolist() == [[-1], [-1]]


def test_training_seeds_in_order() -> None:
    archs = np.array([[0, 1], [0, 0], [0, 1]])
    found = coverage(make(models=3, archs=archs, seeds=np.array([9, 4, 2])))
    assert found.base.tolist() == [1, 2] and [s.tolist() for s in found.seeds] == [[1], [2, 0]]
    assert found.rows([[0, 1]]).tolist() == [2]


def test_cells_of_another_shape() -> None:
    with pytest.raises(SpecError, match=r"option numbers \[..., 2\]"):
        coverage(make()).rows([[0, 1, 2]])


def test_sampling_sees_the_probability_of_the_whole_class() -> None:
    """Two classes, two equal cells of the first and one of the second: drawn 2 : 1 under a uniform theta."""
    valid, _ = make_pair(class_cells(), 2)
    theta = np.full((6, 5), 0.2)
    found = coverage(valid)
    drawn = PosteriorSample(1, rounds=1).select(valid, range(3000), theta, found.groups)[:, 0]
    size = np.bincount(SPACE.classes)
    expected = size[size > 20].sum() / 15_625
    share = np.isin(drawn, np.nonzero(size > 20)[0]).mean()
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 3000)
    plain = nes_bs(valid, theta, range(3000), size=1, rounds=1)[:, 0]
    assert abs(np.isin(plain, np.nonzero(size > 20)[0]).mean() - (size > 20).mean()) < 0.02  # a class counts once
