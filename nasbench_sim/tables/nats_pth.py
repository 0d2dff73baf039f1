"""Reading the official NAS-Bench-201 `.pth` files without torch: one architecture at a time, in little memory.

    NAS-Bench-201-v1_0-e61699.pth (2.2 GB), NAS-Bench-201-v1_1-096897.pth (4.7 GB)

hold `{"meta_archs": [string, ...], "total_archs": 15625, "evaluated_indexes": [...], "arch2infos": {index: {"full":
results of 200 epochs, "less": results of 12 epochs}}}`, where results are as in `nats_records`. `torch.save` writes
such an object in one of two containers, and both are read:

- up to torch 1.5, four pickles after one another: a magic number, the protocol, facts about the machine, the object
  (and then tensors, of which there are none here);
- from 1.6 on, a zip archive with the object in `NAME/data.pkl`.

Not `torch.load(weights_only=True)`: there are no tensors in these files to map, and its unpickler, in Python too,
builds the whole object; both give the same (see the tests). `tests/benchmarks/test_curves_bench.py` times this one.
What `stream_pickle` does not know (tensors, code, other protocols) is refused in one line.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from nasbench_sim.errors import TableError
from nasbench_sim.spaces import Space
from nasbench_sim.tables.curves_writer import Run
from nasbench_sim.tables.nats_files import Bounded, Decoded, Progress, check_meta
from nasbench_sim.tables.nats_records import read_runs
from nasbench_sim.tables.stream_pickle import Reader, refused
from nasbench_sim.tables.stream_scan import Stream, scan

MAX_BYTES = 1 << 33
RECORD = frozenset({"arch_index", "arch_str", "all_results", "dataset_seed"})
#: torch.serialization.MAGIC_NUMBER and PROTOCOL_VERSION, each pickled with protocol 2
_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
_AGAIN = "get the original file again"


def decoded_pth(path: Path, space: Space, *, progress: Progress | None = None) -> Iterator[Decoded]:
    """Every architecture of a `.pth` file, checked, in the file's order.

    The file is read twice; `progress(name, bytes done, bytes in all)` is called as the second reading goes. Raises
    `TableError`, one line that names the file, for the first thing that is wrong.
    """
    try:
        with _object(path, None) as stream:
            fetched = scan(stream).fetched
        with _object(path, progress) as stream:
            reader = Reader(stream, fetched, RECORD)
            yield from _architectures(reader, space, str(path))
        _check_top(reader.top, space, str(path))
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except Exception as error:  # a hostile file can make the reader raise almost anything
        raise refused(str(path), error) from error


def _architectures(reader: Reader, space: Space, where: str) -> Iterator[Decoded]:
    """Results come budget by budget; those of one architecture stand together."""
    cell, runs = -1, list[Run]()
    for record in reader.records():
        index, some = read_runs(record, cell=None, space=space, where=where)
        if index != cell and runs:
            yield cell, runs
            runs = []
        cell = index
        runs += some
    if runs:
        yield cell, runs


def _check_top(top: Any, space: Space, where: str) -> None:
    if type(top) is not dict or not {"meta_archs", "arch2infos", "evaluated_indexes"} <= top.keys():
        raise TableError(f"{where}: not a NAS-Bench-201 file: meta_archs, arch2infos or evaluated_indexes is missing")
    check_meta(top, space, where)


@contextmanager
def _object(path: Path, progress: Progress | None) -> Iterator[Stream]:
    """The bytes of the pickled object, from its first opcode on."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise TableError(f"{path}: larger than the {MAX_BYTES} bytes such a file may have; {_AGAIN}")
    with Bounded(path) as file:
        magic = file.read(len(_MAGIC))
        if magic == _MAGIC:
            start = file.tell()
            file.seek(start + scan(file).size)  # past the facts about the machine
            yield _Counted(file, path.name, size, progress)
        elif magic[:4] == b"PK\x03\x04":
            with _data_pkl(path, file) as inner:
                yield _Counted(inner, path.name, size, progress)
        else:
            raise TableError(f"{path}: not a file written by torch.save; {_AGAIN}")


class _Counted:
    """A stream that reports how far it is, and ends at `MAX_BYTES` whatever a zip archive unpacks to."""

    def __init__(self, file: IO[bytes] | io.FileIO, name: str, size: int, progress: Progress | None) -> None:
        self._file, self._name, self._size, self._progress = file, name, size, progress
        self._done = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, none at the end."""
        data = self._file.read(size)
        self._done += len(data)
        if self._done > MAX_BYTES:
            raise pickle.UnpicklingError(f"it unpacks to more than {MAX_BYTES} bytes")
        if self._progress:
            self._progress(self._name, min(self._done, self._size), self._size)
        return data


@contextmanager
def _data_pkl(path: Path, file: io.FileIO) -> Iterator[IO[bytes]]:
    try:
        with zipfile.ZipFile(file) as archive:
            names = [i for i in archive.infolist() if i.filename.count("/") == 1 and i.filename.endswith("/data.pkl")]
            plain = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # torch.save stores; others may take GBs to unpack
            if len(names) != 1 or names[0].flag_bits & 1 or names[0].compress_type not in plain:
                raise TableError(f"{path}: not a file written by torch.save: no single data.pkl in it; {_AGAIN}")
            with archive.open(names[0]) as inner:
                yield inner
    # NotImplementedError: zipfile's own, of a version or compression that it does not read
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise TableError(f"{path}: a damaged zip archive ({str(error)[:100]}); {_AGAIN}") from error
