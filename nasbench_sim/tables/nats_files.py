"""Reading the official NATS-Bench files: a folder or a .tar of one bz2-compressed pickle an architecture.

    NATS-tss-v1_0-3ffb9-simple/000000.pickle.pbz2 ... 015624.pickle.pbz2    84 kB each, 326 kB unpacked
    NATS-tss-v1_0-3ffb9-simple/meta.pickle.pbz2                             the strings of all architectures

Nothing in them is trusted. Files and members of the archive are taken by their expected names and nothing is written to
disk: absolute names, `..`, links and devices in an archive are refused, and so are members that stand twice or are
larger than `MAX_PACKED`. Unpacking stops at `MAX_UNPACKED` bytes. Pickles are read by the allow-list unpickler, which
builds nothing but dictionaries, lists, tuples, strings and numbers; these files need three names
(`unpickle.NATS_BENCH`): `collections.OrderedDict`, `numpy.dtype` and `numpy.core.multiarray.scalar`.

bz2 takes much of the time and lets other threads run meanwhile, so `workers` threads unpack ahead of the one that
reads.
"""

from __future__ import annotations

import bz2
import io
import os
import re
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from nasbench_sim.errors import TableError
from nasbench_sim.spaces import Space
from nasbench_sim.tables.curves_writer import Run
from nasbench_sim.tables.nats_records import read_runs, shown
from nasbench_sim.tables.unpickle import NATS_BENCH, read_pickle

FOLDER = "NATS-tss-v1_0-3ffb9-simple"
MAX_PACKED = 1 << 20  # the real ones have 84 kB; meta 35 kB
MAX_UNPACKED = 1 << 22  # the real ones have 326 kB; meta 1.4 MB
_MAX_MEMBERS = 20_000
_MAX_WORKERS = 4  # one thread reads what they unpack, so more have nothing to do
_MEMBER = re.compile(r"(\d{6}|meta)\.pickle\.pbz2", re.ASCII)
_AGAIN = "get the original file again"
Progress = Callable[[str, int, int], None]
#: one architecture: its official index and its runs
Decoded = tuple[int, list[Run]]


class Member(NamedTuple):
    """One compressed file: `cell` is its architecture's index, None for the meta file; `where` names it in errors."""

    cell: int | None
    where: str
    data: bytes


def members(source: Path, progress: Progress | None = None) -> Iterator[Member]:
    """The compressed files of a folder (in index order) or a .tar (in its own order).

    `progress(name, bytes done, bytes in all)` is called as it goes. Raises `TableError` for a source that is neither, a
    file or member that is too large, and everything that an honest archive does not hold.
    """
    if source.is_dir():
        return _of_folder(source, progress)
    return _of_tar(source, progress)


def _of_folder(folder: Path, progress: Progress | None) -> Iterator[Member]:
    inner = folder / FOLDER
    if not (folder / "meta.pickle.pbz2").is_file() and inner.is_dir():
        folder = inner
    try:
        found = {m[1]: p for p in folder.iterdir() if (m := _MEMBER.fullmatch(p.name)) and p.is_file()}
        total = sum(p.stat().st_size for p in found.values())
    except OSError as error:
        raise TableError(f"{folder}: cannot be read ({error.strerror}); check the folder") from error
    if not found:
        raise TableError(
            f"{folder} holds no NATS-Bench files (000000.pickle.pbz2, ...); give {FOLDER}/, its .tar, "
            "or a NAS-Bench-201 .pth file"
        )
    if "meta" not in found:
        raise TableError(f"{folder}: meta.pickle.pbz2 is missing; {_AGAIN}")
    done = 0
    for name in ["meta", *sorted(found.keys() - {"meta"})]:
        path = found[name]
        try:
            with path.open("rb") as file:
                data = file.read(MAX_PACKED + 1)
        except OSError as error:
            raise TableError(f"{path}: cannot be read ({error.strerror}); check the file") from error
        yield _member(name, str(path), data)
        done += len(data)
        if progress:
            progress(folder.name, done, total)


def _member(name: str, where: str, data: bytes) -> Member:
    if len(data) > MAX_PACKED:
        raise TableError(f"{where}: larger than the {MAX_PACKED} bytes such a file may have; {_AGAIN}")
    return Member(None if name == "meta" else int(name), where, data)


class Bounded(io.FileIO):
    """A file from which no single read may be large: what a header claims cannot fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As a file's own; raises `ValueError` for more than 2 MB at once."""
        if size is None or size == -1:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if not 0 <= size <= 2 * MAX_PACKED:
            raise ValueError(f"a header claims {size} bytes")
        return super().read(size) or b""


def _of_tar(path: Path, progress: Progress | None) -> Iterator[Member]:
    seen: set[str] = set()
    try:
        with Bounded(path) as file:
            total = path.stat().st_size
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for number, info in enumerate(archive):
                    name = _expected(info, path, number)
                    if name is None:
                        continue
                    where = f"{path}: {info.name}"
                    if name in seen or info.size > MAX_PACKED:
                        problem = (
                            "stands twice" if name in seen else f"claims {info.size} bytes, more than {MAX_PACKED}"
                        )
                        raise TableError(f"{where} {problem}; {_AGAIN}")
                    seen.add(name)
                    inner = archive.extractfile(info)
                    data = inner.read(MAX_PACKED + 1) if inner else b""
                    if len(data) != info.size:
                        raise TableError(f"{where} is cut short; {_AGAIN}")
                    yield _member(name, where, data)
                    if progress:
                        progress(path.name, info.offset_data + info.size, total)
                file.seek(archive.offset)
                if any(file.read(tarfile.BLOCKSIZE)):  # tarfile takes a damaged header for the end
                    raise TableError(f"{path}: damaged at byte {archive.offset}, after {len(seen)} files; {_AGAIN}")
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except TableError:  # a ValueError too
        raise
    except (tarfile.TarError, ValueError, EOFError, LookupError, ArithmeticError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise TableError(f"{path}: not an uncompressed .tar archive, or a damaged one ({reason}); {_AGAIN}") from error
    if not seen:
        raise TableError(f"{path} holds no NATS-Bench files ({FOLDER}/000000.pickle.pbz2, ...); give {FOLDER}.tar")


def _expected(info: tarfile.TarInfo, path: Path, number: int) -> str | None:
    """`meta` or six digits for a member to read, None for one to pass over; raises for what is never harmless."""
    parts = PurePosixPath(info.name).parts
    if info.name.startswith("/") or ".." in parts or "\\" in info.name or "\0" in info.name:
        raise TableError(f"{path}: member {info.name[:100]!r} points outside the archive; do not use this file")
    if not (info.isreg() or info.isdir()) or info.issparse():
        raise TableError(f"{path}: member {info.name[:100]!r} is a link or a device; do not use this file")
    if number >= _MAX_MEMBERS or info.size < 0:
        raise TableError(
            f"{path}: a member of negative size, or more than {_MAX_MEMBERS} members; {FOLDER}.tar has 15,627"
        )
    match = _MEMBER.fullmatch(parts[-1]) if parts else None
    return match[1] if match and info.isreg() and parts[:-1] in ((), (FOLDER,)) else None


def inflate(member: Member) -> bytes:
    """The unpacked bytes, at most `MAX_UNPACKED`; raises `TableError` where there are more, or they are damaged."""
    unpacker = bz2.BZ2Decompressor()
    try:
        out = unpacker.decompress(member.data, MAX_UNPACKED + 1)
    except (OSError, ValueError, EOFError) as error:
        raise TableError(f"{member.where}: not a bz2 file, or a damaged one ({error}); {_AGAIN}") from error
    if len(out) > MAX_UNPACKED:
        raise TableError(
            f"{member.where}: unpacks to more than the {MAX_UNPACKED} bytes such a file may have; {_AGAIN}"
        )
    if not unpacker.eof or unpacker.unused_data:
        what = "bytes follow its end" if unpacker.eof else "it is cut short"
        raise TableError(f"{member.where}: {what}; {_AGAIN}")
    return out


def decoded(source: Path, space: Space, *, workers: int = 1, progress: Progress | None = None) -> Iterator[Decoded]:
    """Every architecture of a folder or .tar, checked; the meta file is compared with the space and left out.

    Raises `TableError`, one line that names the file, for the first thing that is wrong, and at the end where there was
    no meta file.
    """
    known = False
    workers = max(1, min(workers, _MAX_WORKERS))
    with ThreadPoolExecutor(workers) as pool:
        for member, raw in _ahead(members(source, progress), pool, 4 * workers):
            content = read_pickle(raw, what=member.where, cap=MAX_UNPACKED, allowed=NATS_BENCH)
            if member.cell is None:
                check_meta(content, space, member.where)
                known = True
            else:
                yield _architecture(content, member.cell, space, member.where)
    if not known:
        raise TableError(f"{source}: meta.pickle.pbz2 is missing; {_AGAIN}")


def _ahead(source: Iterator[Member], pool: ThreadPoolExecutor, depth: int) -> Iterator[tuple[Member, bytes]]:
    """Each member with its unpacked bytes, `depth` of them unpacked ahead."""
    waiting: deque[tuple[Member, Future[bytes]]] = deque()
    try:
        waiting.extend((m, pool.submit(inflate, m)) for m in islice(source, depth))
        while waiting:
            member, future = waiting.popleft()
            raw = future.result()
            waiting.extend((m, pool.submit(inflate, m)) for m in islice(source, 1))
            yield member, raw
    finally:
        for _, future in waiting:
            future.cancel()


def _architecture(content: object, cell: int, space: Space, where: str) -> Decoded:
    if type(content) is not dict or not content:
        raise TableError(f"{where}: not the results of an architecture; {_AGAIN}")
    runs: list[Run] = []
    for hp, results in content.items():
        _, some = read_runs(results, cell=cell, space=space, where=where)
        other = next((r.epochs for r in some if str(r.epochs) != hp), None)
        if other is not None:
            raise TableError(f"{where}: a run of {other} epochs stands under {shown(hp)}; {_AGAIN}")
        runs += some
    return cell, runs


def check_meta(content: object, space: Space, where: str) -> None:
    """Raise `TableError` unless the file lists exactly the architectures of the space, in their official order."""
    listed = content.get("meta_archs") if type(content) is dict else None
    strings: tuple[str, ...] = getattr(space, "strings", ())
    if type(listed) is not list or len(listed) != len(strings):
        count = len(listed) if type(listed) is list else "no"
        raise TableError(
            f"{where}: lists {count} architectures, expected {len(strings)}; is this the topology search space (tss)?"
        )
    for i, (theirs, ours) in enumerate(zip(listed, strings, strict=True)):
        if theirs != ours:
            raise TableError(f"{where}: architecture {i} is {shown(theirs)}, expected {ours}; {_AGAIN}")
