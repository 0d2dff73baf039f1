"""The sealed file: damage anywhere is one line, and a dataset made by hand is refused down to its storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import TableError
from nasbench_sim.sealed import BLOCK, _seal, add_dataset, read_dataset, read_sealed, write_sealed

KIND = "nasbench-sim test"
A = np.arange(12, dtype="<f4").reshape(3, 4)


def write(path: Path) -> Path:
    with write_sealed(path, KIND) as file:
        add_dataset(file, "a", A)
        add_dataset(file, "b", A)
    return path


def read(path: Path, name: str = "a", shape: tuple[int, ...] | None = (3, 4)) -> np.ndarray:
    with read_sealed(path, KIND, error=TableError, mend="write it again") as file:
        return read_dataset(file, name, "<f4", shape, where=str(path), error=TableError)


def message(path: Path, **about: Any) -> str:
    with pytest.raises(TableError) as caught:
        read(path, **about)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("sealed") / "good.h5").read_bytes()


def test_what_is_written_is_read_and_equal_content_is_an_equal_file(tmp_path: Path, good: bytes) -> None:
    path = write(tmp_path / "x.h5")
    assert path.read_bytes() == good
    back = read(path)
    assert np.array_equal(back, A) and back.dtype == A.dtype and not back.flags.writeable


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(tmp_path: Path, good: bytes, at: float, bit: int) -> None:
    damaged = bytearray(good)
    damaged[int(at * len(good))] ^= 1 << bit
    path = tmp_path / "damaged.h5"
    path.write_bytes(damaged)
    message(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), more=st.binary(min_size=1, max_size=9))
def test_any_other_length_is_noticed(tmp_path: Path, good: bytes, at: float, more: bytes) -> None:
    path = tmp_path / "short.h5"
    path.write_bytes(good[: int(at * len(good))])
    message(path)
    path.write_bytes(good + more)
    assert "truncated or padded" in message(path)


def test_files_of_another_kind(tmp_path: Path, good: bytes) -> None:
    assert "is a folder" in message(tmp_path)
    assert "No such file" in message(tmp_path / "none.h5")
    path = tmp_path / "x.h5"
    path.write_bytes(b"")
    assert "is empty" in message(path)
    path.write_bytes(b"index,arch\n0,x\n")
    assert f"is not a {KIND} file" in message(path)
    with h5py.File(path, "w") as file:
        file["a"] = [1.0]
    assert f"is an HDF5 file, but not a {KIND}" in message(path)
    path.write_bytes(good[:BLOCK])
    assert "is truncated" in message(path)
    noise = b"no HDF5 at all" * 100
    path.write_bytes(_seal(KIND, noise) + noise)
    assert f"not a readable {KIND} file" in message(path)


def _new(data: Any = A, **options: Any) -> Callable[[h5py.File], None]:
    """Put another dataset in the place of `a`."""

    def edit(file: h5py.File) -> None:
        del file["a"]
        file.create_dataset("a", data=data, **{"chunks": np.shape(data), "fletcher32": True, **options})

    return edit


def _link(link: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file["a"]
        file["a"] = link

    return edit


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=A.shape, dtype="<f4")
    layout[...] = h5py.VirtualSource(".", "b", shape=A.shape)
    del file["a"]
    file.create_virtual_dataset("a", layout)


def _external(file: h5py.File) -> None:
    del file["a"]
    file.create_dataset("a", shape=A.shape, dtype="<f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def _group(file: h5py.File) -> None:
    del file["a"]
    file.create_group("a")


PLAIN = "one chunk with fletcher32 and nothing else"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_link(h5py.SoftLink("/b")), "a is not a plain dataset"),
        (_link(h5py.ExternalLink("other.h5", "/a")), "a is not a plain dataset"),
        (_group, "a is not a plain dataset"),
        (_virtual, PLAIN),
        (_external, PLAIN),
        (lambda f: f["a"].attrs.__setitem__("note", "x"), PLAIN),
        (_new(compression="gzip"), PLAIN),
        (_new(compression="lzf"), PLAIN),
        (_new(shuffle=True), PLAIN),
        (_new(fletcher32=False), PLAIN),
        (_new(chunks=(1, 4)), PLAIN),
        (_new(chunks=None, fletcher32=False), PLAIN),
        (_new(maxshape=(None, 4)), PLAIN),
        (_new(A.astype("<f8")), "a should be <f4"),
        (_new(A.astype(">f4")), "a should be <f4"),
        (_new(A[:2]), "a should be <f4"),
        (_new(A[..., None]), "a should be <f4"),
    ],
)
def test_a_dataset_made_by_hand_is_refused(tmp_path: Path, edit: Callable[[h5py.File], None], said: str) -> None:
    path = write(tmp_path / "crafted.h5")
    with h5py.File(path, "r+") as file:
        edit(file)
    body = path.read_bytes()[BLOCK:]
    path.write_bytes(_seal(KIND, body) + body)
    assert said in message(path)


def test_a_length_that_is_left_open_is_one_axis(tmp_path: Path) -> None:
    assert r"of shape [n]" in message(write(tmp_path / "x.h5"), shape=None)
