"""Files of named arrays that open at once and are checked array by array, as they are read.

A table of all NAS-Bench-101 runs has 181 MB, too much to sum before the first question. So the head is checked on
opening, and every array when it is first asked for; `verify` reads them all (tests/benchmarks/test_nb101_bench.py times
the three on a file of that size).

The file is a safetensors file (8 bytes: length of the head; the head, JSON; arrays back to back, little-endian), which
other tools read as it is. Two things are added within that format: the head's `__metadata__` holds what the file is and
the sha256 of every array, and the first array, `seal`, is the sha256 of everything before it. So every byte is
accounted for, and nothing is believed before its sum fits.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasbench_sim.errors import TableError
from nasbench_sim.files import atomic_path

MAX_BYTES = 1 << 32
_MAX_HEAD = 1 << 20
_SEAL = 32
_TYPES = {"U8": "|u1", "I32": "<i4", "U64": "<u8", "F32": "<f4", "F64": "<f8"}
_NAMES = {code: name for name, code in _TYPES.items()}
_MEND = "fetch or import the table again"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    dtype: Literal["U8", "I32", "U64", "F32"]
    shape: list[Annotated[int, Field(ge=0, le=MAX_BYTES)]] = Field(max_length=4)
    data_offsets: tuple[int, int]


class _About(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str
    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    facts: dict[str, Any]


def write_tensors(path: Path | str, kind: str, facts: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Write a file atomically, array by array; returns the sha256 of its head, which stands for all its content.

    `kind` names what the file is, `facts` is JSON-able. Arrays are uint8, int32, uint64 or float32; those of wider
    items stand first, so that each starts at a multiple of its item. Equal content gives equal files.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.safetensors"
    >>> _ = write_tensors(path, "an example", {"n": 1}, {"a": np.arange(3, dtype=np.float32)})
    >>> TensorFile(path, "an example")["a"].tolist()
    [0.0, 1.0, 2.0]
    """
    head, ordered = _made(kind, facts, arrays)
    seal = hashlib.sha256(head).digest()
    with atomic_path(path) as part, part.open("wb") as file:
        file.write(head + seal)
        for array in ordered.values():
            file.write(_bytes(array))
    return seal.hex()


def tensors_sha256(kind: str, facts: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """The sha256 that `write_tensors` would return."""
    return hashlib.sha256(_made(kind, facts, arrays)[0]).hexdigest()


def _made(
    kind: str, facts: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> tuple[bytes, dict[str, npt.NDArray[Any]]]:
    """The head of a file, and its arrays in their order."""
    ordered = dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))
    sums = {name: hashlib.sha256(_bytes(array)).hexdigest() for name, array in ordered.items()}
    about = json_text({"kind": kind, "sha256": sums, "facts": dict(facts)})
    named = [(name, array.dtype.str, array.shape) for name, array in ordered.items()]
    return header({"about": about}, [("seal", "|u1", (_SEAL,)), *named]), ordered


def header(metadata: Mapping[str, str], arrays: Iterable[tuple[str, str, Sequence[int]]], *, align: int = 1) -> bytes:
    """The head of a safetensors file, up to its first array: the length in 8 bytes, then JSON.

    `arrays` are (name, NumPy's code of a type, shape), and stand back to back in this order; spaces, which the format
    allows, end the head at a multiple of `align` bytes.

    >>> header({}, [("a", "<f4", (2,))])[8:]
    b'{"__metadata__":{},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    """
    document: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    for name, code, shape in arrays:
        end = at + math.prod(shape) * np.dtype(code).itemsize
        document[name] = {"dtype": _NAMES[code], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json_text(document).encode()
    text += b" " * (-(len(text) + 8) % align)
    return len(text).to_bytes(8, "little") + text


class TensorFile:
    """The arrays of a file by name: read and checked when first asked for, then kept. All are read-only.

    `facts` is what the writer said, `sha256` that of the head. Raises `TableError`, one line that names the file, on
    opening for a file that is not of this kind, truncated, padded or damaged in its head, and on reading for an array
    that does not fit its sum.
    """

    def __init__(self, path: Path | str, kind: str) -> None:
        self.path = Path(path)
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                start = file.read(8)
                length = int.from_bytes(start, "little")
                text = file.read(length) if length <= _MAX_HEAD else b""
                seal = file.read(_SEAL)
        except IsADirectoryError as error:
            raise TableError(f"{path} is a folder; give the file of a {kind}") from error
        except OSError as error:
            raise TableError(f"{path}: cannot be read ({error.strerror}); {_MEND}") from error
        if not text.startswith(b'{"__metadata__"'):
            raise TableError(f"{path} is not a {kind} file; {_MEND}")
        if hashlib.sha256(start + text).digest() != seal:
            raise TableError(f"{path} is damaged: its head does not fit its sha256; {_MEND}")
        self._data = 8 + len(text)
        self._entries, about = _head(text, f"{path}")
        if about.kind != kind:
            raise TableError(f"{path} is a file of {about.kind!r}, not a {kind} file; {_MEND}")
        end = self._data + max(entry.data_offsets[1] for entry in self._entries.values())
        if size != end:
            raise TableError(f"{path} is truncated or padded: {size} bytes instead of {end}; {_MEND}")
        self.facts, self.sha256, self._sums = about.facts, seal.hex(), about.sha256
        self._kept: dict[str, npt.NDArray[Any]] = {}

    def __contains__(self, name: str) -> bool:
        """Whether there is an array of this name."""
        return name in self._sums

    def names(self) -> list[str]:
        """The arrays' names, as they stand in the file."""
        return list(self._sums)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """An array by name, kept for the next time; raises `TableError` where it is absent or damaged."""
        if name not in self._kept:
            self._kept[name] = self._read(name)
        return self._kept[name]

    def verify(self) -> None:
        """Read every array once, keeping none; raises `TableError` for the first that does not fit its sum."""
        for name in self._sums:
            self._read(name)

    def _read(self, name: str) -> npt.NDArray[Any]:
        if name not in self._sums:
            raise TableError(f"{self.path}: has no array {name}; {_MEND}")
        entry = self._entries[name]
        start, stop = entry.data_offsets
        try:
            with self.path.open("rb") as file:
                file.seek(self._data + start)
                data = file.read(stop - start)
        except OSError as error:
            raise TableError(f"{self.path}: cannot be read ({error.strerror}); {_MEND}") from error
        if hashlib.sha256(data).hexdigest() != self._sums[name]:
            raise TableError(f"{self.path} is damaged: {name} does not fit its sha256; {_MEND}")
        return np.frombuffer(data, dtype=_TYPES[entry.dtype]).reshape(entry.shape)


def _head(text: bytes, where: str) -> tuple[dict[str, _Entry], _About]:
    """The entries and what the file says of itself; a sealed head made by hand still has to be one that we write."""
    try:
        document = json.loads(text)
        if json_text(document).encode() != text:
            raise ValueError("it is not in canonical form")
        metadata = document.pop("__metadata__")
        if list(metadata) != ["about"] or list(document)[:1] != ["seal"]:
            raise ValueError("it has no metadata or no seal")
        about = _About.model_validate_json(metadata["about"], strict=True)
        entries = {name: _Entry.model_validate_json(json_text(entry), strict=True) for name, entry in document.items()}
        at = 0
        for name, entry in entries.items():
            size = math.prod(entry.shape) * np.dtype(_TYPES[entry.dtype]).itemsize
            if entry.data_offsets != (at, at + size):
                raise ValueError(f"array {name} is not where its shape says")
            at += size
        if entries["seal"].data_offsets != (0, _SEAL) or set(entries) != {"seal", *about.sha256} or at > MAX_BYTES:
            raise ValueError("its arrays are not those that its sums are of")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise TableError(f"{where}: its head is not one of ours ({' '.join(reason.split())[:120]}); {_MEND}") from None
    return entries, about


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def json_text(document: Mapping[str, Any]) -> str:
    """A document as the heads of these files hold it: without spaces, keys in their order, no NaN.

    >>> json_text({"b": 1, "a": None})
    '{"b":1,"a":null}'
    """
    return json.dumps(document, separators=(",", ":"), allow_nan=False)
