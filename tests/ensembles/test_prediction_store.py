"""The prediction file: what is written is read; what is not exactly one is one line, and never a wrong number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasbench_sim import sealed
from nasbench_sim.ensembles import Predictions, store
from nasbench_sim.errors import RunError, SpecError, TableError
from tests.ensembles.helpers import make

P = make()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("store") / "p.h5"
    P.save(path)
    return path.read_bytes()


def same(a: Predictions, b: Predictions) -> bool:
    """Equal in everything."""
    arrays = all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("probabilities", "labels", "archs", "seeds"))
    return arrays and all(getattr(a, n) == getattr(b, n) for n in ("space", "dataset", "split", "source"))


def message(path: Path) -> str:
    with pytest.raises(TableError) as caught:
        Predictions.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    digest = P.save(tmp_path / "a.h5")
    back = Predictions.load(tmp_path / "a.h5")
    assert same(back, P) and back.sha256 == P.sha256 == digest
    assert back.probabilities.dtype == np.float32 and not back.probabilities.flags.writeable


def test_equal_predictions_are_equal_files(tmp_path: Path, good: bytes) -> None:
    make().save(tmp_path / "b.h5")
    assert (tmp_path / "b.h5").read_bytes() == good


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot write"):
        P.save(tmp_path / "file" / "p.h5")


def test_what_no_file_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="stored in 32 bits"):
        make(models=1, archs=[[0, 2**31]]).save(tmp_path / "a.h5")
    monkeypatch.setattr(store, "MAX_BYTES", (1 << 20) + 100)
    with pytest.raises(SpecError, match="save fewer models or samples"):
        P.save(tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def reseal(path: Path) -> None:
    data = path.read_bytes()[sealed.BLOCK :]
    path.write_bytes(sealed._seal(store.KIND, data) + data)


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, derandomize=True
)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flip_under_a_fitting_seal_is_noticed_or_harmless(tmp_path: Path, good: bytes, at: float, bit: int) -> None:
    damaged = bytearray(good)
    damaged[sealed.BLOCK + int(at * (len(good) - sealed.BLOCK))] ^= 1 << bit
    path = tmp_path / "d.h5"
    path.write_bytes(damaged)
    reseal(path)
    try:
        back = Predictions.load(path)
    except TableError as error:
        assert "\n" not in str(error)
    else:
        assert same(back, P)


def _replace(name: str, data: Any, **options: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        array = file[name][...] if data is None else data
        del file[name]
        file.create_dataset(name, data=array, **{"chunks": np.shape(array), "fletcher32": True, **options})

    return edit


def _manifest(**changes: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        document = {**json.loads(file["manifest"][...].tobytes()), **changes}
        _replace("manifest", np.frombuffer(store._json(document), np.uint8))(file)

    return edit


def _array(name: str, index: Any, value: Any) -> Callable[[h5py.File], None]:
    """Change one number and make every checksum fit again."""

    def edit(file: h5py.File) -> None:
        data = file[name][...]
        data[index] = value
        _replace(name, data)(file)
        hashes = {**json.loads(file["manifest"][...].tobytes())["sha256"], name: store.digest(data.data)}
        _manifest(sha256=hashes)(file)

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_array("probabilities", (3, 4), [0.5, 0.5, 0.5]), r"model 3, sample 4 sums to 1\.5"),
        (_array("probabilities", (3, 4), [np.nan, 0.5, 0.5]), "model 3, sample 4 holds NaN"),
        (_array("labels", 7, 3), r"labels lie in 0\.\.2; entry 7 is 3"),
        (_array("labels", 7, -1), r"labels lie in 0\.\.2; entry 7 is -1"),
        (_array("archs", (0, 0), -1), "option numbers >= 0"),
        (_array("archs", 1, [0, 0]), "rows 0 and 1 are the same architecture"),
        (_array("seeds", 0, -5), "seeds lie in -1"),
        (_replace("labels", np.zeros(50, "<i4")), "labels does not fit its sha256"),
        (_replace("labels", np.zeros(50, "<i8")), "labels should be <i4"),
        (_replace("labels", np.zeros(49, "<i4")), "labels should be <i4"),
        (_replace("seeds", np.zeros((16, 1), "<i8")), "seeds should be <i8"),
        (lambda f: f.create_dataset("more", data=[1]), "holds archs, labels, manifest, more"),
        (lambda f: f.__delitem__("seeds"), "a prediction file holds"),
        (lambda f: f.__delitem__("manifest"), "it has no manifest"),
        (lambda f: f.attrs.__setitem__("note", "x"), "holds"),
        (_manifest(split="train"), "split"),
        (_manifest(schema_version=2), "schema_version"),
        (_manifest(format="nasbench-sim table"), "format"),
        (_manifest(models=17), "probabilities should be"),
        (_manifest(models=True), "models"),
        (_manifest(samples=0), "samples"),
        (_manifest(more=1), "more"),
        (_manifest(sha256={}), "canonical form"),
        (_manifest(space="nb201"), "has 6 decisions"),
        (_manifest(source="two\nlines"), "source of predictions is one line"),
        (_replace("manifest", np.frombuffer(b"[" * 100_000, np.uint8)), "not a prediction file of schema 1"),
    ],
)
def test_a_file_made_by_hand_is_refused(tmp_path: Path, edit: Callable[[h5py.File], None], said: str) -> None:
    path = tmp_path / "crafted.h5"
    P.save(path)
    with h5py.File(path, "r+") as file:
        edit(file)
    reseal(path)
    with pytest.raises(TableError, match=said):
        Predictions.load(path)
    message(path)
