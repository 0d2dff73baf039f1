"""Where the drop-ins differ on purpose: explicit draws, no test data in a search's signal, errors that name what is."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.compat import Absent, CompatWarning, create
from nasbench_sim.errors import ArchError, NotMeasured, SpecError, TableError
from nasbench_sim.spaces import NB201
from nasbench_sim.tables.curves import Curves
from nasbench_sim.tables.curves_writer import CurveWriter
from nasbench_sim.tables.manifest import cached_space
from nasbench_sim.tables.nats_files import decoded
from nasbench_sim.tables.store import write_table
from nasbench_sim.tables.table import Table
from tests.compat.helpers import CELLS, RUNS, made_up
from tests.synthetic import synthetic_table
from tests.tables.nats_factory import FOLDER, nb201_object, write_folder

SPACE = NB201()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("own") / FOLDER, {cell: made_up(cell) for cell in CELLS})


def trials(api: Any, n: int = 40) -> list[float]:
    return [api.get_more_info(284, "cifar10", hp="200")["test-accuracy"] for _ in range(n)]


def test_the_global_generator_is_left_alone(folder: Path) -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  (what must not be touched)
    before = (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    api = create(folder, "tss", verbose=False, rng=3)
    trials(api)
    api.random()
    api.simulate_train_eval(11, "cifar100")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_the_same_rng_gives_the_same_trials(folder: Path) -> None:
    def of(rng: Any) -> list[float]:
        return trials(create(folder, "tss", verbose=False, rng=rng))

    assert of(3) == of(np.random.default_rng(3)) == of(np.int64(3)) != of(4)
    assert len(set(of(3))) == 3  # every one of the three trials is drawn
    assert of(random.Random(3)) == of(random.Random(3)) != of(3)


def test_a_generator_of_the_caller_is_drawn_from_once_a_question(folder: Path) -> None:
    """Numbers are drawn ahead only where nobody else draws: here 300 questions take 300 numbers, and no more."""
    mine, theirs = np.random.default_rng(3), np.random.default_rng(3)
    api = create(folder, "tss", verbose=False, rng=mine)
    first = trials(api, 299)
    api.random()
    theirs.random(300)
    assert mine.random() == theirs.random()
    assert first == trials(create(folder, "tss", verbose=False, rng=3), 299)  # across the end of a block


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda api: pickle.loads(pickle.dumps(api))])  # noqa: S301 (its own)
@pytest.mark.parametrize("rng", [3, random.Random(3), np.random.default_rng(3)], ids=["seed", "Random", "Generator"])
def test_a_copy_goes_on_alone_from_the_same_draws(folder: Path, rng: Any, copied: Any) -> None:
    api = create(folder, "tss", verbose=False, rng=rng)
    trials(api, 7)
    other = copied(api)
    assert trials(other) == trials(api)  # one after the other: neither takes the other's draws


def test_indices_of_an_array_are_remembered_as_others_are(folder: Path) -> None:
    api = create(folder, "tss", verbose=False, rng=0)
    for cell in np.array(CELLS):
        for which in (False, True, 888):
            first = api.get_more_info(cell, "cifar10-valid", None, "200", which)
            kept = len(api._answers)
            assert api.get_more_info(cell, "cifar10-valid", None, "200", which).keys() == first.keys()
            assert len(api._answers) == kept > 0
        assert api.get_more_info(cell, "cifar10", hp=12, is_random=False) == api.get_more_info(
            int(cell), "cifar10", hp=12, is_random=False
        )
    assert len(api._answers) == 5 * len(CELLS)


def test_a_draw_that_nobody_gave_an_rng_warns_once_and_repeats(folder: Path) -> None:
    def of() -> list[float]:
        api = create(folder, "tss", verbose=False)
        with pytest.warns(CompatWarning, match="pass rng=SEED") as caught:
            out = trials(api)
        assert len(caught) == 1
        return out

    assert of() == of()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create(folder, "tss", verbose=False).get_more_info(11, "cifar10", is_random=False)


@pytest.mark.parametrize("rng", [-1, True, "7", 1.5, np.random.RandomState(1), np.random])
def test_what_is_no_rng(folder: Path, rng: Any) -> None:
    with pytest.raises(SpecError, match="rng is a seed"):
        create(folder, "tss", verbose=False, rng=rng)


@pytest.mark.parametrize("rng", [None, 0, np.random.default_rng(0)])
def test_strict_draws_need_the_global_kind(folder: Path, rng: Any) -> None:
    with pytest.raises(SpecError, match="pass rng=random"):
        create(folder, "tss", True, False, rng=rng, strict_compat=True)
    with pytest.raises(SpecError, match="fast_mode=True only"):
        create(folder, "tss", False, False, rng=random, strict_compat=True)


def test_validation_and_test_together_never_stand_in_for_validation(folder: Path) -> None:
    api = create(folder, "tss", verbose=False, rng=0)
    for dataset in ("cifar100", "ImageNet16-120"):
        with pytest.raises(NotMeasured, match="which a search must not see"):
            api.simulate_train_eval(11, dataset, iepoch=50, hp="200")
        assert api.used_time == 0  # a refused evaluation costs nothing
        info = api.get_more_info(11, dataset, iepoch=50, hp="200", is_random=False)
        assert "valtest-accuracy" in info and "valid-accuracy" not in info
    strict = create(folder, "tss", True, False, rng=random.Random(0), strict_compat=True)
    accuracy = strict.simulate_train_eval(11, "cifar100", iepoch=50, hp="200")[0]
    every = [strict.get_more_info(11, "cifar100", 50, "200", s)["valtest-accuracy"] for s in (777, 888)]
    assert accuracy in every


def test_a_bad_architecture_is_never_another_one(folder: Path) -> None:
    """The original looks up index -1 for a string that it does not know: the last architecture."""
    api = create(folder, "tss", verbose=False, rng=0)
    for bad in ("|none~0|", "garbage", None, 1.5, True, -1, 15_625):
        for ask in (api.get_unique_str, api.arch, lambda a: api.get_more_info(a, "cifar10")):
            with pytest.raises(ArchError):
                ask(bad)
    assert api.query_index_by_arch(np.int64(11)) == 11  # the original answers -1


def test_weights_are_said_to_be_absent(folder: Path) -> None:
    with pytest.raises(Absent, match="weights are in none of the benchmark files"):
        create(folder, "tss", verbose=False).get_net_param(11, "cifar10", 111)


def test_an_answer_that_is_changed_does_not_change_the_next(folder: Path) -> None:
    api = create(folder, "tss", verbose=False)
    first = api.get_more_info(11, "cifar10", is_random=False)
    kept = dict(first)
    first["test-accuracy"] = -1.0
    assert api.get_more_info(11, "cifar10", is_random=False) == kept


def test_seeds_0_and_1_are_not_false_and_true(folder: Path) -> None:
    api = create(folder, "tss", verbose=False, rng=0)
    for which in (False, True):
        api.get_more_info(11, "cifar10", is_random=which)
    for seed in (0, 1):
        with pytest.raises(Absent, match="no trial with seed"):
            api.get_more_info(11, "cifar10", is_random=seed)


def test_a_folder_without_fast_mode_knows_what_it_has(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api = create(folder, "tss", rng=0)
    assert sorted(api.evaluated_indexes) == list(CELLS) and "3 architectures" in capsys.readouterr().out
    best, accuracy = api.find_best("cifar10", "valid", hp="200")
    means = {c: api.get_more_info(c, "cifar10-valid", hp="200", is_random=False)["valid-accuracy"] for c in CELLS}
    assert (best, accuracy) == max(means.items(), key=lambda item: item[1])
    with pytest.raises(Absent, match="no file of architecture 1 "):
        api.get_more_info(1, "cifar10")
    api.show(11)
    shown = capsys.readouterr().out
    assert SPACE.strings[11] in shown and "200 epochs" in shown
    api.show()
    assert capsys.readouterr().out.count("----------") == 3


def test_other_search_spaces_and_sources_are_refused(folder: Path, tmp_path: Path) -> None:
    for space, said in (("sss", "size space"), ("nb301", "unknown search space")):
        with pytest.raises(SpecError, match=said):
            create(folder, space)
    with pytest.raises(TableError, match="cannot be read"):
        create(tmp_path, "tss", True, False)
    with pytest.raises(SpecError, match="not a list"):
        create([1], "tss", verbose=False)  # type: ignore[arg-type]


# --- the same runs from an imported benchmark -------------------------------------------------------------------------


def test_learning_curves_answer_as_the_files_do(folder: Path, tmp_path: Path) -> None:
    """Times and costs bit by bit, accuracies and losses to float32. A part of the runs, to keep the file small."""
    space = cached_space("nb201")
    path = tmp_path / "part.safetensors"
    with CurveWriter("nb201", tmp_path) as writer:
        for cell, runs in decoded(folder, space):
            writer.add(cell, [r for r in runs if r.epochs == 12 or (r.dataset, r.seed) == ("cifar100", 777)])
        writer.finish(path, sources=(), notes=())
    assert len(Curves(path).available) > 10
    ours, files = create(path, "tss", verbose=False, rng=0), create(folder, "tss", verbose=False, rng=0)
    assert sorted(ours.evaluated_indexes) == list(CELLS) and ours.avaliable_hps == ["12", "200"]
    asked = [(c, r, e, "12", False) for c in CELLS for r in RUNS for e in (None, 0, 11)]
    asked += [(c, "cifar100", e, "200", 777) for c in CELLS for e in (None, 0, 120)]
    for question in asked:
        one, other = ours.get_more_info(*question), files.get_more_info(*question)
        assert one.keys() == other.keys()
        for key, value in other.items():
            exact = "time" in key or key == "comment"
            assert one[key] == value if exact else one[key] == pytest.approx(value, rel=1.2e-7)
    for run in RUNS:
        assert ours.get_cost_info(11, run) == files.get_cost_info(11, run)
        assert ours.query_meta_info_by_index(11).get_dataset_seeds(run) == (
            [111, 777] if run == "cifar10-valid" else [111]
        )
    with pytest.raises(Absent, match="after epoch 200 only"):
        ours.query_by_index(11, "cifar100", "200")[777].get_eval("x-valid", 5)
    with pytest.raises(Absent, match="nothing on architecture 1"):
        ours.get_more_info(1, "cifar10")


# --- tables of end results --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tabled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Any]:
    table = synthetic_table()
    path = tmp_path_factory.mktemp("tabled") / "synthetic.h5"
    write_table(table, path)
    return table, create(path, "tss", verbose=False, rng=0)


def test_a_table_gives_what_it_has_and_names_it(tabled: tuple[Table, Any]) -> None:
    table, api = tabled
    mean = {"dataset": "cifar10", "split": "test", "epochs": 200, "seed": "mean"}
    info = api.get_more_info(7, "cifar10", hp="200", is_random=False)
    assert dict(info) == {"test-accuracy": table.query(7, **mean)}
    with pytest.raises(NotMeasured, match="'test-loss' was not measured; there are test-accuracy"):
        info["test-loss"]
    assert info.get("test-loss") is None and "test-loss" not in info
    for ask, said in (
        (lambda: api.get_more_info(7, "cifar10", hp="12"), "unknown budget"),
        (lambda: api.get_more_info(7, "cifar10", hp="200"), "single trials are unknown"),
        (lambda: api.get_more_info(7, "cifar10", 3, "200", False), "nothing was measured after epoch index 3"),
        (lambda: api.get_more_info(7, "cifar100", hp="200", is_random=False), "unknown data set"),
        (lambda: api.get_more_info(7, "cifar10", hp="200", is_random=777), "no trial with seed 777"),
        (lambda: api.find_best("cifar10", "test", flop_max=3, hp="200"), "no parameters or FLOPs"),
    ):
        with pytest.raises(Absent, match=said):
            ask()
    best = int(np.argmax(table.values(**mean)))
    assert api.find_best("cifar10", "test", hp="200") == (best, table.query(best, **mean))


def test_an_embedded_table_without_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    api = create("nb201-analog", "tss", rng=0)
    assert api.avaliable_hps == [] and len(api) == 15_625
    with pytest.raises(Absent, match="unknown budget"):
        api.get_more_info(0, "cifar10", hp="200")


@pytest.mark.real
def test_nb201_from_the_public_tables(nb201_table: Table, shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "nb201.h5"
    write_table(nb201_table, path)
    api = create(path, "tss", verbose=False, rng=0)
    assert api.avaliable_hps == ["12", "200"] and len(api.evaluated_indexes) == 15_625
    info = api.get_more_info(9930, "cifar100", hp="200", is_random=False)
    assert (round(info["valid-accuracy"], 2), round(info["test-accuracy"], 2)) == (73.49, 73.51)
    assert api.find_best("cifar100", "test", hp="200")[0] == 9930
    assert api.find_best("ImageNet16-120", "valid", hp="200")[0] == 10_676
    files = create(shared_data / "nats_tss_sample" / FOLDER, "tss", verbose=False, rng=0)
    for cell in CELLS:
        for seed in (777, 888, 999):
            try:
                real = files.get_more_info(cell, "cifar10-valid", hp="200", is_random=seed)["valid-accuracy"]
            except Absent:
                continue
            ours = api.get_more_info(cell, "cifar10-valid", hp="200", is_random=seed)["valid-accuracy"]
            assert ours == pytest.approx(real, abs=1e-3)
    with pytest.raises(NotMeasured, match="'valid-per-time' was not measured"):
        api.simulate_train_eval(11, "cifar10", hp="200")


def test_a_dictionary_of_both_packages_is_one_benchmark() -> None:
    held = nb201_object({11: made_up(11)})
    api = create(held, "tss", verbose=False, rng=0)
    assert api.evaluated_indexes == {11} and api.statistics("cifar100", 200) == {2: 1}
    with pytest.raises(Absent, match="holds nothing on architecture 0"):
        api.get_more_info(0, "cifar10")
    api.clear_params(11)
    with pytest.raises(SpecError, match="not a folder"):
        api.reload(index=11)
