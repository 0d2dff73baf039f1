"""Fashion-MNIST's IDX files and the .npz subset of CIFAR-10."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gpu_validation.data import fashion, load_dataset
from gpu_validation.data.fashion import DEBIAN, read_idx
from gpu_validation.data.subset import FILE, read
from nasbench_sim.errors import TableError
from tests.gpu_validation.data.made import idx

PIXELS = np.arange(5 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(5, 28, 28)


def test_an_idx_file_gives_its_pixels(tmp_path: Path) -> None:
    assert (read_idx(idx(tmp_path / "a.gz", PIXELS), PIXELS.shape) == PIXELS).all()


@pytest.mark.parametrize(
    ("claims", "kind", "content", "message"),
    [
        ((2**31, 28, 28), 8, PIXELS, "should hold 5 x 28 x 28"),
        ((2**32 - 1, 2**32 - 1, 2**32 - 1), 8, PIXELS, "4294967295 x 4294967295"),
        ((0, 28, 28), 8, PIXELS, "says it holds 0 x 28 x 28"),
        ((5, 28, 28), 8, PIXELS[:4], "has 3152 bytes"),
        ((5, 28, 28), 9, PIXELS, "no IDX file of uint8"),
        ((5, 784), 8, PIXELS, "no IDX file of uint8"),
        ((5, 28, 28), 8, np.zeros(10_000_000, dtype=np.uint8), "unpacks to more than"),
    ],
)
def test_wrong_idx_files(claims: tuple[int, ...], kind: int, content: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=message):
        read_idx(idx(tmp_path / "a.gz", content, claims, kind), (5, 28, 28))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000), 9))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(TableError, match="unpacks to more than"):
        read_idx(path, (5, 28, 28))
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    whole = idx(tmp_path / "a.gz", PIXELS).read_bytes()
    for damaged in (whole[:-1], whole[:-9], whole[:40], b"", b"not gzip at all", whole[:-6] + b"\0\0" + whole[-4:]):
        (tmp_path / "b.gz").write_bytes(damaged)
        with pytest.raises(TableError):
            read_idx(tmp_path / "b.gz", PIXELS.shape)
    with pytest.raises(TableError, match="sha256 differs"):
        read_idx(tmp_path / "a.gz", PIXELS.shape, "0" * 64)


def test_no_fashion_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "absent")
    with pytest.raises(TableError, match=r"--data-folder, or apt install dataset-fashion-mnist"):
        load_dataset("fashion-mnist")
    with pytest.raises(TableError, match=r"train-images-idx3-ubyte\.gz is not there"):
        load_dataset("fashion-mnist", folder=tmp_path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="the package dataset-fashion-mnist is not installed")
def test_the_debian_package() -> None:
    data = load_dataset("fashion-mnist")
    assert [data.size(s) for s in ("train", "valid", "test")] == [30_000, 30_000, 10_000]
    assert np.bincount(data.labels["train"]).tolist() == [3000] * 10
    assert data.mean == pytest.approx((0.2860,), abs=2e-3) and data.std == pytest.approx((0.3530,), abs=2e-3)


def _npz(path: Path, **changes: object) -> Path:
    arrays: dict[str, object] = {}
    for part, n in (("train", 20), ("test", 10)):
        arrays[f"x_{part}"] = np.zeros((n, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = (np.arange(n) % 10).astype(np.uint8)
    arrays = {k: v for k, v in {**arrays, **changes}.items() if v is not None}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            buffer = io.BytesIO()
            if isinstance(value, bytes):
                buffer.write(value)
            else:
                np.lib.format.write_array(buffer, np.asarray(value), allow_pickle=True)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    return path


def _header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def test_a_good_npz(tmp_path: Path) -> None:
    data = load_dataset("cifar10-subset", folder=_npz(tmp_path / FILE).parent)
    assert [data.size(s) for s in ("train", "valid", "test")] == [10, 10, 10]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.array([{"a": 1}] * 20, dtype=object)}, "is object of shape"),
        ({"x_train": _header((10**12, 32, 32, 3))}, "which is not the 128 bytes"),
        ({"x_train": _header((2**62, 32, 32, 3))}, "which is not the 128 bytes"),
        ({"y_train": np.arange(20.0)}, "is float64 of shape"),
        ({"x_test": np.zeros((10, 3, 32, 32), dtype=np.uint8)}, "not uint8 images"),
        ({"y_test": None}, "it should hold"),
        ({"extra": np.zeros(3)}, "it should hold"),
        ({"y_test": np.arange(9, dtype=np.uint8)}, "9 labels that do not fit"),
        ({"y_test": np.full(10, 10, dtype=np.uint8)}, "labels that do not fit"),
        ({"y_test": bytes(300_000)}, "at most 64096 are read"),
        ({"y_test": b"no array"}, "damaged"),
    ],
)
def test_wrong_npz_files(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=message):
        read(_npz(tmp_path / FILE, **changes))


def test_damaged_npz_files(tmp_path: Path) -> None:
    whole = _npz(tmp_path / FILE).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-30], whole.replace(b"\x78", b"\x79")[:-1]):
        (tmp_path / "bad.npz").write_bytes(damaged)
        with pytest.raises(TableError):
            read(tmp_path / "bad.npz")
    with pytest.raises(TableError, match="is not there"):
        read(tmp_path / "absent.npz")
    with pytest.raises(TableError, match="--data-folder"):
        load_dataset("cifar10-subset")
