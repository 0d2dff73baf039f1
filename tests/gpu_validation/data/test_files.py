"""Official files: what is read is what was written, and everything else is refused in one line, without running it."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_validation.data import archives, load_dataset
from gpu_validation.data.archives import CIFAR, IMAGENET16, read_cifar, read_imagenet16
from gpu_validation.data.idx import DEBIAN, FILES, read_idx
from gpu_validation.data.idx import load as load_fashion
from gpu_validation.data.pickled import read_images
from gpu_validation.data.subset import FILE
from nasbench_sim.errors import TableError
from nasbench_sim.files import sha256_file

RANDOM = np.random.Generator(np.random.Philox(key=7))


def python2(content: dict[bytes, Any]) -> bytes:
    """A protocol-2 pickle as Python 2 wrote CIFAR: byte strings as BINSTRING, arrays through `_reconstruct`."""
    out = io.BytesIO()
    out.write(b"\x80\x02}(")
    for key, value in content.items():
        out.write(b"U" + bytes([len(key)]) + key)
        if isinstance(value, np.ndarray):
            out.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01")
            out.write(b"".join(b"M" + struct.pack("<H", n) for n in value.shape))
            out.write(b"\x86" if value.ndim == 2 else b"\x85")
            out.write(
                b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            )
            out.write(b"T" + struct.pack("<I", value.nbytes) + value.tobytes() + b"tb")
        elif isinstance(value, list):
            out.write(b"](" + b"".join(b"K" + bytes([n]) for n in value) + b"e")
        else:
            out.write(b"U" + bytes([len(value)]) + value)
    out.write(b"u.")
    return out.getvalue()


def images(n: int, pixels: int = 3072) -> np.ndarray:
    return RANDOM.integers(0, 256, (n, pixels), dtype=np.uint8)


def archive(path: Path, members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data) if kind == tarfile.REGTYPE else 0, kind
            info.linkname = "elsewhere"
            tar.addfile(info, io.BytesIO(data))
    return path


def cifar10(path: Path) -> tuple[Path, dict[str, tuple[np.ndarray, list[int]]]]:
    content = {
        m: (images(6), [int(k) for k in RANDOM.integers(0, 10, 6)])
        for m in (*CIFAR["cifar10"].train, CIFAR["cifar10"].test)
    }
    members = {
        "cifar-10-batches-py/readme.html": b"<p>",
        **{m: python2({b"batch_label": b"b", b"labels": y, b"data": x}) for m, (x, y) in content.items()},
    }
    return archive(path / CIFAR["cifar10"].file, members), content


def test_an_archive_as_python_2_wrote_it(tmp_path: Path) -> None:
    path, content = cifar10(tmp_path)
    (x, y), (x_test, _), classes, side = read_cifar("cifar10", tmp_path, sha256_file(path))
    assert np.array_equal(x, np.concatenate([content[m][0] for m in CIFAR["cifar10"].train]))
    assert y.tolist() == [k for m in CIFAR["cifar10"].train for k in content[m][1]]
    assert np.array_equal(x_test, content[CIFAR["cifar10"].test][0]) and classes == 10 and side == 32


def test_cifar100_has_fine_labels(tmp_path: Path) -> None:
    about = CIFAR["cifar100"]
    data = python2({b"fine_labels": [99, 0, 3, 7], b"coarse_labels": [1, 2, 3, 4], b"data": images(4)})
    path = archive(tmp_path / about.file, {about.train[0]: data, about.test: data})
    (_, y), _, classes, _ = read_cifar("cifar100", path, sha256_file(path))
    assert y.tolist() == [99, 0, 3, 7] and classes == 100


def test_python_3_pickles_of_every_protocol() -> None:
    x = images(3, 768)
    for protocol in (2, 3, 4, 5):
        data = pickle.dumps({"data": x, "labels": [1, 120, 5], "mean": np.zeros(768)}, protocol=protocol)
        if protocol == 5:  # out-of-band buffers: other opcodes, which no such file has
            with pytest.raises(TableError):
                read_images(data, what="x", cap=10**6, pixels=768, labels="labels", highest=1000)
            continue
        got, y = read_images(data, what="x", cap=10**6, pixels=768, labels="labels", highest=1000)
        assert np.array_equal(got, x) and y.tolist() == [1, 120, 5]


def test_imagenet16_keeps_the_first_120_classes_from_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*(f"train_data_batch_{i}" for i in range(1, 11)), "val_data"):
        data = {"data": images(6, 768), "labels": [1, 120, 121, 1000, 60, 7]}
        (tmp_path / name).write_bytes(pickle.dumps(data, protocol=3))
    with pytest.raises(TableError, match=r"train_data_batch_1 has MD5 .* the original 27846dcaa50de8e2"):
        load_dataset("ImageNet16-120", folder=tmp_path)
    ours = {name: hashlib.md5((tmp_path / name).read_bytes(), usedforsecurity=False).hexdigest() for name in IMAGENET16}
    (x, y), (_, y_test), classes, side = read_imagenet16(tmp_path, ours)
    assert len(x) == 40 and y.tolist() == [0, 119, 59, 6] * 10 and y_test.tolist() == [0, 119, 59, 6]
    assert (classes, side) == (120, 16)
    monkeypatch.setattr(archives, "IMAGENET16", ours)
    data = load_dataset("ImageNet16-120", folder=tmp_path)
    assert [data.size(s) for s in ("train", "valid", "test")] == [40, 2, 2] and data.pad == 2
    (tmp_path / "train_data_batch_7").unlink()
    with pytest.raises(TableError, match="train_data_batch_7 cannot be read"):
        load_dataset("ImageNet16-120", folder=tmp_path)


class Attack:
    def __reduce__(self) -> Any:
        return print, ("this code ran",)


BAD: dict[str, Callable[[], bytes]] = {
    "runs code": lambda: pickle.dumps({"data": images(2), "labels": [1, 2], "x": Attack()}, protocol=2),
    "another global": lambda: b"\x80\x02cos\nsystem\nU\x02ls\x85R.",
    "no dictionary": lambda: pickle.dumps([1, 2], protocol=2),
    "no data": lambda: python2({b"labels": [1]}),
    "too few labels": lambda: python2({b"labels": [1], b"data": images(2)}),
    "a label too high": lambda: python2({b"labels": [1, 10], b"data": images(2)}),
    "other pixels": lambda: python2({b"labels": [1, 2], b"data": images(2, 100)}),
    "wide numbers": lambda: pickle.dumps({"data": np.zeros((2, 3072), dtype=np.int64), "labels": [1, 2]}, protocol=2),
    "objects": lambda: pickle.dumps({"data": np.array([[None] * 3072] * 2), "labels": [1, 2]}, protocol=2),
    "truncated": lambda: python2({b"labels": [1, 2], b"data": images(2)})[:-9],
    "empty": lambda: b"",
}


@pytest.mark.parametrize("what", BAD)
def test_bad_batches_are_one_line_and_run_nothing(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TableError) as caught:
        read_images(BAD[what](), what="batch", cap=10**6, pixels=3072, labels="labels", highest=9)
    assert "\n" not in str(caught.value) and "batch" in str(caught.value)
    assert "ran" not in capsys.readouterr().out


def test_flipped_bytes_never_crash() -> None:
    """2,000 mutants of a small batch: the same images, other numbers, or one line."""
    whole = python2({b"labels": [1, 2], b"data": images(2, 12)})
    for _ in range(2000):
        data = bytearray(whole)
        for place in RANDOM.integers(0, len(data), RANDOM.integers(1, 4)):
            data[place] = RANDOM.integers(0, 256)
        try:
            x, y = read_images(bytes(data), what="batch", cap=10**6, pixels=12, labels="labels", highest=9)
            assert x.shape == (2, 12) and len(y) == 2
        except TableError as error:
            assert "\n" not in str(error)


def test_archives_that_are_not_the_original(tmp_path: Path) -> None:
    path, _ = cifar10(tmp_path)
    with pytest.raises(TableError, match=r"has sha256 .* the original 6d958be0745778"):
        load_dataset("cifar10", folder=tmp_path)
    with pytest.raises(TableError, match="is not there; get cifar-100-python"):
        load_dataset("cifar100", folder=tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TableError, match=r"is damaged|lacks"):
        read_cifar("cifar10", path, sha256_file(path))
    archive(path, {CIFAR["cifar10"].test: b"x"})
    with pytest.raises(TableError, match="test_batch: refused to unpickle"):
        read_cifar("cifar10", path, sha256_file(path))
    archive(path, {"other": b"x"})
    with pytest.raises(TableError, match="lacks cifar-10-batches-py/data_batch_1"):
        read_cifar("cifar10", path, sha256_file(path))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE):
        archive(path, {CIFAR["cifar10"].test: b""}, kind)
        with pytest.raises(TableError, match="is no plain file"):
            read_cifar("cifar10", path, sha256_file(path))


def idx(path: Path, array: np.ndarray, shape: tuple[int, ...] | None = None) -> Path:
    head = b"\0\0\x08" + bytes([array.ndim]) + b"".join(struct.pack(">I", n) for n in shape or array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))
    return path


def test_idx_files(tmp_path: Path) -> None:
    for part, pattern in FILES.items():
        n = 12 if part == "train" else 6
        idx(tmp_path / pattern.format("images-idx3"), RANDOM.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        idx(tmp_path / pattern.format("labels-idx1"), (np.arange(n) % 10).astype(np.uint8))
    with pytest.raises(TableError, match="of another data set"):
        load_dataset("fashion-mnist", folder=tmp_path)
    data = load_fashion("fashion-mnist", tmp_path, "cpu", {})
    assert [data.size(s) for s in ("train", "valid", "test")] == [6, 6, 6] and data.channels == 1
    assert tuple(data.images["test"].shape) == (6, 1, 32, 32) and not data.images["test"][:, :, :2].any()
    path = tmp_path / "x.gz"
    small = np.zeros((2, 28, 28), dtype=np.uint8)
    for shape, message in [
        ((10**9, 28, 28), "claims an array"),
        ((2, 2**31, 28), "claims an array"),
        ((3, 28, 28), "fewer than"),
        ((1, 28, 28), "more than"),
    ]:
        idx(path, small, shape)
        with pytest.raises(TableError, match=message):
            read_idx(path, rank=3)
    for content, message in [
        (b"", "no IDX file"),
        (b"hello", "damaged"),
        (gzip.compress(b"\0\0\x0d\x03" * 9), "no IDX"),
    ]:
        path.write_bytes(content)
        with pytest.raises(TableError, match=message):
            read_idx(path, rank=3)
    path.write_bytes(gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 99_000, 256, 256) + b"\0" * 100)[:-12])
    with pytest.raises(TableError, match=r"damaged|fewer"):
        read_idx(path, rank=3)
    with pytest.raises(TableError, match="is not there"):
        load_dataset("fashion-mnist", folder=tmp_path / "nowhere")


def test_fashion_mnist_of_the_debian_package() -> None:
    if not DEBIAN.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    data = load_dataset("fashion-mnist")
    assert [data.size(s) for s in ("train", "valid", "test")] == [30_000, 30_000, 10_000]
    assert int(data.labels["test"].bincount().min()) == 1000


def subset(path: Path, **change: Any) -> Path:
    arrays = {
        "x_train": RANDOM.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8),
        "y_train": np.arange(8, dtype=np.uint8),
        "x_test": RANDOM.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8),
        "y_test": np.arange(4, dtype=np.uint8),
    }
    np.savez_compressed(path, **{k: v for k, v in {**arrays, **change}.items() if v is not None})
    return path


def test_the_subset(tmp_path: Path) -> None:
    path = subset(tmp_path / FILE)
    data = load_dataset("cifar10-subset", folder=tmp_path)
    assert [data.size(s) for s in ("train", "valid", "test")] == [4, 4, 4] and data.labels["valid"].tolist() == [
        4,
        5,
        6,
        7,
    ]
    content = np.load(path)["x_test"]
    assert np.array_equal(data.images["test"].numpy(), content.transpose(0, 3, 1, 2))
    bad: list[dict[str, Any]] = [
        {"x_test": None},
        {"more": np.zeros(3)},
        {"x_train": np.array([None] * 8)},
        {"x_train": np.zeros((8, 16, 16, 3), dtype=np.uint8)},
        {"y_train": np.zeros(8)},
        {"y_train": np.full(8, 10, dtype=np.uint8)},
        {"y_test": np.arange(5, dtype=np.uint8)},
        {"y_train": np.zeros(70_000, dtype=np.uint8)},
    ]
    for change in bad:
        subset(path, **change)
        with pytest.raises(TableError) as caught:
            load_dataset("cifar10-subset", folder=tmp_path)
        assert "\n" not in str(caught.value) and FILE in str(caught.value)
    whole = subset(path).read_bytes()
    for data_ in (whole[:200], b"", b"PK\x03\x04" + b"\xff" * 99, whole[:-30]):
        path.write_bytes(data_)
        with pytest.raises(TableError):
            load_dataset("cifar10-subset", folder=path)
    for _ in range(300):
        mutant = bytearray(whole)
        for place in RANDOM.integers(0, len(mutant), 3):
            mutant[place] = RANDOM.integers(0, 256)
        path.write_bytes(bytes(mutant))
        try:
            load_dataset("cifar10-subset", folder=tmp_path)
        except TableError as error:
            assert "\n" not in str(error)


def test_a_header_that_claims_a_huge_array_is_refused_before_it_is_made(tmp_path: Path) -> None:
    path = subset(tmp_path / FILE)
    head = io.BytesIO()
    claim = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 32, 32, 3)}
    np.lib.format.write_array_header_1_0(head, claim)
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in {**content, "x_test.npy": head.getvalue() + b"\0" * 100}.items():
            new.writestr(name, data)
    with pytest.raises(TableError, match=r"x_test is uint8 of shape \(1000000000000, 32, 32, 3\)"):
        load_dataset("cifar10-subset", folder=tmp_path)


@pytest.mark.real
def test_the_real_subset(shared_data: Path) -> None:
    data = load_dataset("cifar10-subset", folder=shared_data)
    assert [data.size(s) for s in ("train", "valid", "test")] == [5000, 5000, 2000]


def test_fashion_mini_is_the_shrunk_beginning_of_each_class() -> None:
    if not DEBIAN.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    whole, mini = load_dataset("fashion-mnist"), load_dataset("fashion-mini")
    for split in ("train", "valid", "test"):
        assert mini.images[split].shape == (2000, 1, 14, 14)
        assert np.bincount(mini.labels[split]).tolist() == [200] * 10
        first = int(np.flatnonzero(whole.labels[split].numpy() == int(mini.labels[split][0]))[0])
        inner = whole.images[split][first, 0, 2:-2, 2:-2].numpy().astype(float)
        want = np.floor(inner.reshape(14, 2, 14, 2).mean(axis=(1, 3)) + 0.5)
        assert np.array_equal(mini.images[split][0, 0].numpy(), want)
    assert mini.sha256 == "b68b7147a7b24fe008ddc313a8a5c2a3f1fe3bcc76a3351509c523971272c837"
