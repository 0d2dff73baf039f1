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
from nasbench_sim.sealed import (
    BLOCK,
    _seal,
    add_dataset,
    read_attribute,
    read_dataset,
    read_numbers,
    read_sealed,
    write_sealed,
)

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


def edited(path: Path, edit: Callable[[h5py.File], object]) -> Path:
    """A good file, changed through HDF5 and sealed again, as an attacker would."""
    write(path)
    with h5py.File(path, "r+") as file:
        edit(file)
    body = path.read_bytes()[BLOCK:]
    path.write_bytes(_seal(KIND, body) + body)
    return path


def test_a_small_file_takes_little_memory_to_read(tmp_path: Path) -> None:
    """Python sets aside all that a read asks for; it asked for the 4 GiB that a file may have."""
    import tracemalloc

    path = write(tmp_path / "x.h5")
    read(path)
    tracemalloc.start()
    read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def numbers(path: Path, name: str = "x") -> Any:
    with read_sealed(path, KIND, error=TableError, mend="write it again") as file:
        return read_numbers(file, name, where=str(path), error=TableError)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda f: f.create_dataset("x", (1 << 40,), "f8", chunks=(1024,)), "claims 8796093022208 bytes, more than"),
        (lambda f: f.create_dataset("x", (1 << 40,), "f8", chunks=(1024,), fillvalue=1.0), "claims"),
        (lambda f: f.create_dataset("x", data=["a", "b"]), "not a plain dataset of numbers"),
        (lambda f: f.create_dataset("x", data=np.zeros(2, "S3")), "not a plain dataset of numbers"),
        (lambda f: f.create_group("x"), "not a plain dataset"),
        (lambda f: f.__setitem__("x", h5py.SoftLink("/a")), "not a plain dataset"),
        (lambda f: f.__setitem__("x", h5py.ExternalLink("other.h5", "/a")), "not a plain dataset"),
        (lambda f: f.create_dataset("x", (4,), "u1", external=[("/etc/hostname", 0, 4)]), "in another file"),
        (lambda f: f.create_virtual_dataset("x", virtual()), "in another file"),
    ],
)
def test_numbers_of_any_shape_come_from_the_file_itself(
    tmp_path: Path, edit: Callable[[h5py.File], object], said: str
) -> None:
    with pytest.raises(TableError, match=said) as caught:
        numbers(edited(tmp_path / "x.h5", edit))
    assert "\n" not in str(caught.value)


def virtual() -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "a", shape=(4,))
    return layout


def test_numbers_of_any_shape_are_read(tmp_path: Path) -> None:
    for i, values in enumerate((np.zeros((0, 3)), np.array([True, False]), np.zeros((200, 500)), np.int64(7))):
        more: dict[str, Any] = {"compression": "gzip", "shuffle": True} if np.size(values) > 2 else {}
        path = edited(tmp_path / f"{i}.h5", lambda f, v=values, m=more: f.create_dataset("x", data=v, **m))
        back = numbers(path)
        assert np.array_equal(back, values) and back.dtype == np.asarray(values).dtype


@pytest.mark.parametrize(
    ("value", "expected"), [(np.int64(-3), -3), (np.bytes_("abc"), "abc"), ("abc", None), ([1, 2], None), (1.5, None)]
)
def test_attributes_are_whole_numbers_or_text_of_fixed_length(tmp_path: Path, value: Any, expected: Any) -> None:
    """HDF5 does not come back from a damaged heap of texts of variable length, so these are not read at all."""
    path = edited(tmp_path / "x.h5", lambda f: f.attrs.__setitem__("it", value))
    with read_sealed(path, KIND, error=TableError, mend="write it again") as file:
        if expected is not None:
            assert read_attribute(file, "it", where="here", error=TableError) == expected
        else:
            with pytest.raises(TableError, match="neither a whole number nor text of fixed length"):
                read_attribute(file, "it", where="here", error=TableError)
        with pytest.raises(TableError, match="no attribute"):
            read_attribute(file, "that", where="here", error=TableError)
