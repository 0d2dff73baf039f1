"""Value by value against the official `nats_bench` package on its own three architectures, and against nb201."""

from __future__ import annotations

import bz2
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import NotMeasured
from nasbench_sim.tables import Key, Table, nats_files, open_table
from nasbench_sim.tables.curves import Curves, open_curves
from nasbench_sim.tables.nats import LATENCY, import_official
from nasbench_sim.tables.nats_records import SPLITS

pytestmark = pytest.mark.real

CELLS = (0, 11, 284)
DATASETS = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")
SEEDS: tuple[Any, ...] = (False, 111, 777, 888, 999, 5)  # False: the mean; 5: of no run
HALF_STEP = 2.0**-24  # of float32, relative


@pytest.fixture(scope="module")
def sample(shared_data: Path) -> Path:
    return shared_data / "nats_tss_sample" / "NATS-tss-v1_0-3ffb9-simple"


@pytest.fixture(scope="module")
def imported(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Table, Curves]]:
    home = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASBENCH_SIM_HOME", str(home))
        table = open_table(import_official(sample, "nats-tss", allow_missing=True))
        yield table, open_curves(table)
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def official(sample: Path) -> Any:
    """nats_bench 1.8. It unpickles its files, so only ever give it files you trust."""
    nats_bench = pytest.importorskip("nats_bench")
    return nats_bench.create(str(sample), "tss", fast_mode=True, verbose=False)


def ours(curves: Curves, dataset: str, split: str, epochs: int, epoch: int, seed: Any) -> dict[str, Any]:
    """What `get_more_info` says of one split, from the curves: `[A]` each, or NotMeasured."""
    key: dict[str, Any] = {
        "dataset": dataset,
        "split": split,
        "epochs": epochs,
        "seed": "mean" if seed is False else seed,
    }
    out: dict[str, Any] = {
        metric: curves.series(**key, metric=metric).values(epoch=epoch, missing="nan")
        for metric in ("accuracy", "loss")
    }
    out["all-time"] = curves.seconds(**key, epoch=epoch)
    out["per-time"] = out["all-time"] / epoch
    return out


@pytest.mark.parametrize("hp", ["12", "200"])
@pytest.mark.parametrize("dataset", DATASETS)
def test_get_more_info_at_every_epoch_and_seed(imported: Any, official: Any, dataset: str, hp: str) -> None:
    """All numbers, and all refusals: a split or seed that the package lacks is not measured here either."""
    curves, epochs = imported[1], int(hp)
    names = {"train": "train", **{split: split for split in ("valid", "test", "valtest")}}
    compared = refused = 0
    for iepoch in (None, *range(epochs)):
        epoch = epochs if iepoch is None else iepoch + 1
        for seed in SEEDS:
            theirs = {}
            for cell in CELLS:
                with contextlib.suppress(KeyError, ValueError):
                    theirs[cell] = official.get_more_info(cell, dataset, iepoch=iepoch, hp=hp, is_random=seed)
            for name, split in names.items():
                there = [cell for cell in CELLS if f"{name}-accuracy" in theirs.get(cell, {})]
                assert there in ([], list(CELLS))  # the three have the same runs
                try:
                    mine = ours(curves, dataset, split, epochs, epoch, seed)
                except NotMeasured:
                    assert there == []
                    refused += 1
                    continue
                for cell in there:
                    for field, values in mine.items():
                        value = theirs[cell][f"{name}-{field}"]
                        if field.endswith("time"):
                            assert values[cell] == pytest.approx(value, rel=1e-12)
                        elif seed is False:  # numbers are rounded, and their mean once more
                            assert values[cell] == pytest.approx(value, rel=2 * HALF_STEP, abs=0)
                        else:
                            assert values[cell] == np.float32(value)
                        compared += 1
                assert there == list(CELLS) or np.isnan(mine["accuracy"][list(CELLS)]).all()
    assert compared > 100
    assert refused > 10


def test_single_numbers_are_the_shortest_decimals_of_theirs(imported: Any, official: Any) -> None:
    series = imported[1].series(dataset="cifar100", split="valtest", epochs=200, seed=888, metric="accuracy")
    for cell in CELLS:
        for iepoch in range(200):
            value = series.query(cell, epoch=iepoch + 1)
            their = official.get_more_info(cell, "cifar100", iepoch=iepoch, hp="200", is_random=888)["valtest-accuracy"]
            assert np.float32(value) == np.float32(their)
            assert round(value, 2) == value  # accuracies are n / 10,000


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("hp", ["12", "200"])
def test_costs(imported: Any, official: Any, dataset: str, hp: str) -> None:
    curves, about = imported[1], {"dataset": dataset, "epochs": int(hp), "seed": "mean"}
    for cell in CELLS:
        info = official.get_cost_info(cell, dataset, hp=hp)
        for theirs, name in (("flops", "flops_m"), ("params", "params_m"), ("latency", "latency_s")):
            assert curves.fact(name, **about)[cell] == pytest.approx(info[theirs], rel=1e-12)
        for official_split, split in {"train": "train", **SPLITS[dataset]}.items():
            with contextlib.suppress(KeyError):  # the 200-epoch runs do not name x-test among their evaluations
                total = info[f"T-{official_split}@total"]
                assert curves.seconds(split=split, epoch=int(hp), **about)[cell] == pytest.approx(total, rel=1e-12)


def test_simulate_train_eval_costs_training_and_one_validation(imported: Any, official: Any) -> None:
    """At 12 epochs, where the package's random seed does not change the cost."""
    curves = imported[1]
    for dataset, run in (("cifar10", "cifar10-valid"), ("cifar100", "cifar100"), ("ImageNet16-120", "ImageNet16-120")):
        about: dict[str, Any] = {"dataset": run, "epochs": 12, "seed": 111}
        for cell in CELLS:
            accuracy, latency, cost, _ = official.simulate_train_eval(cell, dataset, hp="12", account_time=False)
            train, valid = (curves.seconds(split=s, epoch=12, **about)[cell] for s in ("train", "valid"))
            assert cost == pytest.approx(train + valid / 12, rel=1e-12)
            assert latency == pytest.approx(curves.fact("latency_s", **about)[cell], rel=1e-12)
            series = [
                curves.series(dataset=run, split="valid", epochs=12, seed=s, metric="accuracy")
                for s in curves.seeds(dataset=run, epochs=12)
            ]
            assert np.float32(accuracy) in [np.float32(s.query(cell, epoch=12)) for s in series]


def test_the_table_equals_nb201(imported: Any, nb201_table: Table) -> None:
    """The two tables come from different originals; where both have a number for these cells, it is the same."""
    table, compared = imported[0], 0
    for key in table.accuracy.keys() & nb201_table.accuracy.keys():
        theirs, mine = (t.accuracy[key][list(CELLS)] for t in (nb201_table, table))
        both = ~np.isnan(theirs) & ~np.isnan(mine)
        np.testing.assert_allclose(mine[both], theirs[both], rtol=0, atol=0.006 if key.epochs == 12 else 1e-4)
        compared += int(both.sum())
    assert compared >= 60
    for metric in ("params_m", "flops_m", "train_time_s", "mean_runs"):
        for dataset in ("cifar10", "cifar100", "ImageNet16-120"):
            theirs, mine = (t.metrics[metric, dataset][list(CELLS)] for t in (nb201_table, table))
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    assert table.accuracy[Key("cifar10", "valid", 12, "mean")][0] == pytest.approx((62.712 + 64.016) / 2, abs=1e-3)
    assert table.metrics[LATENCY, "cifar10"][0] == pytest.approx(13.936, abs=1e-3)


def test_files_are_far_from_their_bounds(sample: Path) -> None:
    """A file that fits has a tenth of what is allowed, packed and unpacked; the list of architectures a third."""
    for path in sample.glob("*.pbz2"):
        packed = path.read_bytes()
        assert len(packed) < nats_files.MAX_PACKED / 10
        most = nats_files.MAX_UNPACKED / (2.5 if path.name.startswith("meta") else 10)
        assert len(bz2.decompress(packed)) < most


def test_accuracies_are_counts_that_float32_keeps(imported: Any) -> None:
    """Every accuracy is a whole number of images, and float32 keeps it: the claim of `curves_file`."""
    images = {"cifar10-valid": (25_000, 25_000, 10_000, 1), "cifar10": (50_000, 1, 10_000, 1),
              "cifar100": (50_000, 5_000, 5_000, 10_000), "ImageNet16-120": (151_700, 3_000, 3_000, 6_000)}  # fmt: skip
    curves, checked = imported[1], 0
    for key in curves.available:
        if key.metric != "accuracy":
            continue
        n = images[key.dataset][("train", "valid", "test", "valtest").index(key.split)]
        series = curves.series(**{k: v for k, v in key._asdict().items() if k != "at"})
        numbers = series.curves() if key.at == "every" else series.values(epoch=key.epochs, missing="nan")
        values = numbers[list(CELLS)].astype(np.float64)
        counts = values * n / 100
        assert np.abs(counts - np.round(counts)).max() < 0.01
        np.testing.assert_array_equal((100 * np.round(counts) / n).astype(np.float32), values.astype(np.float32))
        checked += values.size
    assert checked == 15_021
