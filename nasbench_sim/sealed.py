"""HDF5 files whose every byte is accounted for: a user block with the sha256 of all that follows.

HDF5's fletcher32 covers data chunks only, and its parser fails in many ways on damaged metadata. The seal is compared
before HDF5 sees a byte, so damage anywhere (a flipped bit, a truncated copy, a changed attribute) is one clear line.
A file made by hand with a fitting seal still meets the checks of `read_dataset`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import UserError
from nasbench_sim.files import atomic_path

BLOCK = 512  # the smallest user block that HDF5 allows
MAX_BYTES = 1 << 32
_MOST_DEFLATED = 1032  # deflate makes at most this many bytes of one
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@contextmanager
def write_sealed(path: Path | str, kind: str) -> Iterator[h5py.File]:
    """Yield an HDF5 file open for writing; on success it is sealed and replaces `path` atomically.

    `kind` names what the file is (`nasbench-sim table`); it stands in the first line. HDF5 builds the file in memory:
    on a full disk it would end the process by a signal, where Python says so.
    """
    where = {"driver": "core", "backing_store": False, "userblock_size": BLOCK, "libver": ("v110", "v110")}
    with atomic_path(path) as part:
        with h5py.File(part, "w", **where) as file:
            yield file
            file.flush()
            body = file.id.get_file_image()  # without the user block
        with part.open("wb") as raw:
            raw.write(_seal(kind, body))
            raw.write(body)


def _seal(kind: str, body: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    text = f"{kind}\n{len(body)} bytes follow this block of {BLOCK}\nsha256 {digest}\n"
    return text.encode().ljust(BLOCK, b"\0")


@contextmanager
def read_sealed(
    path: Path | str, kind: str, *, error: type[UserError], mend: str, max_bytes: int = MAX_BYTES
) -> Iterator[h5py.File]:
    """Yield the HDF5 file at `path`, opened from memory after its seal was found to fit.

    Everything that can be wrong with it, also while it is read, is raised as one line of type `error` that ends in
    `mend`, what to do about it.
    """
    where = Path(path)
    data = _sealed_bytes(where, kind, error, mend, max_bytes)
    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as problem:
        if isinstance(problem, UserError):
            raise
        reason = " ".join(str(problem).split())[:200]
        raise error(f"{where}: not a readable {kind} file ({reason}); {mend}") from problem


def _sealed_bytes(path: Path, kind: str, error: type[UserError], mend: str, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            # Python sets aside all that is asked for: 4 GiB, where only the file's own size is needed
            data = file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
    except IsADirectoryError as problem:
        raise error(f"{path} is a folder; give the .h5 file of a {kind}") from problem
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); {mend}") from problem
    magic = f"{kind}\n".encode()
    if not data:
        raise error(f"{path} is empty; {mend}")
    if len(data) > max_bytes:
        raise error(f"{path}: larger than the {max_bytes} bytes a {kind} may have; it is not one of ours")
    if not data.startswith(magic):
        what = f"an HDF5 file, but not a {kind}" if data.startswith(_HDF5_MAGIC) else f"not a {kind} file"
        raise error(f"{path} is {what} (no seal); {mend}")
    body = memoryview(data)[BLOCK:]
    if data[:BLOCK] != _seal(kind, body):
        said = data[len(magic) : BLOCK].split(b" ", 1)[0]
        if said.isdigit() and int(said) != len(body):
            size = f"{len(data)} bytes instead of {int(said) + BLOCK}"
            raise error(f"{path} is truncated or padded: {size}; {mend}")
        raise error(f"{path} is damaged: its content does not fit its sha256; {mend}")
    return data


def add_dataset(file: h5py.File, name: str, data: npt.NDArray[Any]) -> None:
    """Write `data` as `read_dataset` wants it: one chunk with fletcher32, equal bytes for equal content."""
    file.create_dataset(name, data=data, chunks=data.shape, fletcher32=True, track_times=False)


def read_dataset(
    file: h5py.File, name: str, dtype: str, shape: tuple[int, ...] | None, *, where: str, error: type[UserError]
) -> npt.NDArray[Any]:
    """A dataset of the root group as a read-only array, checked down to its storage before anything is allocated.

    It must be a hard link to a plain dataset of this type and `shape` (None: any length `[n]`) with no other filter, no
    external or virtual storage and no attributes, and no larger than the file; else raises `error` in one line that
    begins with `where`.
    """
    link = file.id.links.get_info(name.encode())
    if link.type != h5py.h5l.TYPE_HARD or h5py.h5o.get_info(file.id, name.encode()).type != h5py.h5o.TYPE_DATASET:
        raise error(f"{where}: {name} is not a plain dataset")
    dataset = file[name]
    plist = dataset.id.get_create_plist()
    size = int(np.prod(dataset.shape, dtype=object)) * np.dtype(dtype).itemsize
    plain = (
        dataset.dtype == np.dtype(dtype)
        and dataset.shape == dataset.maxshape
        and (dataset.shape == shape if shape else len(dataset.shape) == 1)
        and plist.get_layout() == h5py.h5d.CHUNKED
        and dataset.chunks == dataset.shape
        and plist.get_external_count() == 0
        and [plist.get_filter(i)[0] for i in range(plist.get_nfilters())] == [h5py.h5z.FILTER_FLETCHER32]
        and 0 < size <= dataset.id.get_storage_size() <= file.id.get_filesize()
        and len(dataset.attrs) == 0
    )
    if not plain:
        raise error(
            f"{where}: {name} should be {dtype} of shape {shape or '[n]'}, one chunk with fletcher32 and nothing else; "
            f"found {dataset.dtype} {dataset.shape}"
        )
    out = np.empty(dataset.shape, dtype=dtype)
    dataset.read_direct(out)
    out.setflags(write=False)
    return out


def read_attribute(file: h5py.File, name: str, *, where: str, error: type[UserError]) -> int | str:
    """One attribute of a file: a whole number, or text of fixed length.

    Text of variable length is refused unread: it stands in a heap of HDF5's, and the library never comes back from a
    damaged one (found by `python -m tests.fuzz checkpoint`). Raises `error` in one line.
    """
    if name not in file.attrs:
        raise error(f"{where}: has no attribute {name}")
    attribute = file.attrs.get_id(name)
    kind = attribute.get_type()
    text = isinstance(kind, h5py.h5t.TypeStringID)
    if attribute.shape != () or not (isinstance(kind, h5py.h5t.TypeIntegerID) or (text and not kind.is_variable_str())):
        raise error(f"{where}: its attribute {name} is neither a whole number nor text of fixed length")
    value = file.attrs[name]
    return value.decode("ascii", "replace") if text else int(value)


def read_numbers(group: h5py.Group, name: str, *, where: str, error: type[UserError]) -> npt.NDArray[Any]:
    """The numbers of one member of a group, of any shape, for files whose arrays depend on what was run.

    It must be a hard link to a dataset of numbers or booleans in the file itself, no larger than the bytes that stand
    for it can unpack to (a made-up shape would else fill the memory); else raises `error` in one line.
    """
    link = group.get(name, getlink=True)
    dataset = group[name] if type(link) is h5py.HardLink else None
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "biuf":
        raise error(f"{where}: {name} is not a plain dataset of numbers")
    if dataset.is_virtual or dataset.external is not None:
        raise error(f"{where}: {name} is stored in another file")
    size = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize
    if size > _MOST_DEFLATED * dataset.id.get_storage_size():
        raise error(f"{where}: {name} claims {size} bytes, more than are in the file")
    return np.asarray(dataset[()])
