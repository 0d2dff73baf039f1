"""CIFAR's archives and ImageNet16's batches: read to the pixel, and refused whatever is wrong with them."""

from __future__ import annotations

import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from gpu_validation.data import cifar, imagenet16, load_dataset
from gpu_validation.data.cifar import ARCHIVES, read
from gpu_validation.data.files import members
from nasbench_sim.errors import TableError
from tests.gpu_validation.data.made import archive_of, images, python2_batch, tar_gz

A, B, T = images(40, key=1), images(40, key=2), images(40, key=3)


@pytest.fixture
def good(tmp_path: Path) -> dict[str, bytes]:
    return {
        "data/readme": b"hello",
        "data/b": python2_batch(*B),
        "data/a": python2_batch(*A),
        "data/test": python2_batch(*T),
    }


def test_pixels_and_labels_arrive_in_the_order_of_the_batches(tmp_path: Path, good: dict[str, bytes]) -> None:
    path = tar_gz(tmp_path / "x.tar.gz", good)
    train, test = read(path, archive_of(path))
    assert (train[0] == np.concatenate([A[0], B[0]])).all() and (train[1] == np.concatenate([A[1], B[1]])).all()
    assert (test[0] == T[0]).all() and test[1].dtype == np.int64


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_splits_hold_every_image_once_and_every_class_equally(
    name: str, tmp_path: Path, good: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar_gz(tmp_path / "x.tar.gz", good)
    monkeypatch.setitem(ARCHIVES, name, archive_of(path))
    data = load_dataset(name, folder=tmp_path)
    sizes = {"cifar10": (40, 40, 40), "cifar100": (80, 20, 20)}[name]
    assert tuple(data.size(s) for s in ("train", "valid", "test")) == sizes
    everything = np.concatenate([data.images[s].numpy().reshape(-1, 3072) for s in ("train", "valid", "test")])
    assert {x.tobytes() for x in everything} == {x.tobytes() for x in np.concatenate([A[0], B[0], T[0]])}
    for split in ("train", "valid", "test"):
        assert len(set(np.bincount(data.labels[split].numpy(), minlength=10))) == 1
    assert data.images["train"].shape[1:] == (3, 32, 32) and (data.flip, data.pad) == (True, 4)
    assert load_dataset(name, folder=path).sha256 == data.sha256  # the file itself may be given, and nothing is random


def test_the_digests_are_the_published_ones() -> None:
    assert ARCHIVES["cifar10"].sha256.startswith("6d958be074577803") and ARCHIVES["cifar10"].sha256.endswith("1ce")
    assert ARCHIVES["cifar100"].sha256.startswith("85cd44d02ba64377") and ARCHIVES["cifar100"].sha256.endswith("7a7")


def test_another_archive_is_not_opened(tmp_path: Path, good: dict[str, bytes]) -> None:
    tar_gz(tmp_path / ARCHIVES["cifar10"].file, good)
    with pytest.raises(TableError, match=r"its sha256 is [0-9a-f]{64}, the published file's 6d958be0.*fetch it again"):
        load_dataset("cifar10", folder=tmp_path)


def test_every_truncation_and_bit_flip_is_one_line(tmp_path: Path, good: dict[str, bytes]) -> None:
    whole = tar_gz(tmp_path / "x.tar.gz", good).read_bytes()
    known = archive_of(tmp_path / "x.tar.gz")
    for cut in (0, 1, 10, 100, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        bad = tmp_path / "bad.tar.gz"
        bad.write_bytes(whole[:cut])
        with pytest.raises(TableError, match="sha256"):
            read(bad, known)
    random = np.random.Generator(np.random.Philox(key=4))
    refused = 0
    for at in random.integers(0, len(whole), size=40):  # with a digest that fits, the readers themselves have to notice
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(at % 8)
        bad.write_bytes(bytes(flipped))
        with pytest.raises(TableError, match="sha256"):
            read(bad, known)
        try:
            read(bad, archive_of(bad))
        except TableError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused >= 30  # gzip's checksum, unless the flip is in a header that nobody needs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data/b": None}, "lacks data/b"),
        ({"data/test": b""}, "refused to unpickle"),
        ({"data/test": b"\x80\x02K\x01."}, "holds a int, not a batch"),
        ({"data/test": b"cos\nsystem\n(U\x02lstR."}, "refused to unpickle"),
        ({"data/test": b"\x80\x02cos\nsystem\n(U\x02lstR."}, "os.system, which is not on the allow-list"),
        (
            {"data/test": pickle.dumps({"data": np.zeros((40, 3072), dtype=">u2"), "labels": []}, 2)},
            "refused to unpickle",
        ),
        ({"data/test": python2_batch(T[0], T[1][:-1])}, "no 40 class numbers"),
        ({"data/test": python2_batch(T[0], T[1] + 1)}, "class numbers are 0 to 9"),
        ({"data/test": python2_batch(T[0], T[1], key="fine_labels")}, "no 40 class numbers under 'labels'"),
        ({"data/test": python2_batch(T[0][:, :3000], T[1])}, r"no images uint8 \[n, 3072\]"),
        ({"data/test": python2_batch(*T).replace(b"J\x28\x00\x00\x00", b"J\xff\xff\xff\x7f", 1)}, "does not have"),
        ({"data/test": python2_batch(*T).replace(b"J\x28\x00\x00\x00", b"J\xff\xff\xff\xff", 1)}, "dimensions"),
        ({"data/test": bytes(2 << 20)}, "larger than 1048576 bytes"),
        ({"data/bomb": bytes(64 << 20)}, "unpacks to more than such an archive holds"),
    ],
)
def test_wrong_members(change: dict[str, bytes | None], message: str, tmp_path: Path, good: dict[str, bytes]) -> None:
    content = {name: data for name, data in {**change, **good, **change}.items() if data is not None}
    path = tar_gz(tmp_path / "x.tar.gz", content)
    with pytest.raises(TableError, match=message) as told:
        read(path, archive_of(path))
    assert "\n" not in str(told.value)


def test_a_link_under_the_name_of_a_member_is_refused(tmp_path: Path, good: dict[str, bytes]) -> None:
    import tarfile

    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("data/a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(TableError, match="no ordinary file"):
        members(path, {"data/a": 100})


def test_no_folder_and_no_file(tmp_path: Path) -> None:
    for name, file in (("cifar10", "cifar-10-python.tar.gz"), ("ImageNet16-120", "train_data_batch_1")):
        with pytest.raises(TableError, match=f"{name} is read from {file}; say where it is with --data-folder"):
            load_dataset(name)
        with pytest.raises(TableError, match="is not there"):
            load_dataset(name, folder=tmp_path / "absent")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(TableError, match=r"no \.tar\.gz archive"):
        cifar.read(tmp_path / "text", archive_of(tmp_path / "text"))
    (tmp_path / "gz").write_bytes(gzip.compress(b"no tar" * 500))
    with pytest.raises(TableError, match=r"no \.tar\.gz archive"):
        cifar.read(tmp_path / "gz", archive_of(tmp_path / "gz"))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_imagenet16_keeps_the_first_120_classes(protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests: dict[str, str] = {}
    pixels, _ = images(250, 768)
    numbers = [1 + i % 125 for i in range(250)]
    for file in ("train_data_batch_1", "train_data_batch_2", "val_data"):
        document = {"data": pixels, "labels": numbers, **({} if file == "val_data" else {"mean": pixels.mean(axis=0)})}
        data = python2_batch(pixels, np.array(numbers)) if protocol == 2 else pickle.dumps(document, protocol)
        (tmp_path / file).write_bytes(data)
        digests[file] = hashlib.md5(data).hexdigest()
    monkeypatch.setattr(imagenet16, "TRAIN", {k: v for k, v in digests.items() if k != "val_data"})
    monkeypatch.setattr(imagenet16, "VALID", {"val_data": digests["val_data"]})
    data_set = load_dataset("ImageNet16-120", folder=tmp_path)
    assert (data_set.size("train"), data_set.size("valid"), data_set.size("test")) == (480, 120, 120)
    assert (data_set.images["train"][0].numpy().reshape(-1) == pixels[0]).all() and int(
        data_set.labels["train"][0]
    ) == 0
    assert data_set.classes == 120 and data_set.pad == 2 and data_set.images["train"].shape[1:] == (3, 16, 16)
    (tmp_path / "val_data").write_bytes(b"x")
    with pytest.raises(TableError, match="its md5 is"):
        load_dataset("ImageNet16-120", folder=tmp_path)
