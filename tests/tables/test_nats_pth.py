"""NAS-Bench-201 .pth files: the same as torch reads, in little memory, and nothing but plain results."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.tables import nats_pth, stream_pickle, stream_scan
from nasbench_sim.tables.nats_pth import decoded_pth
from nasbench_sim.tables.stream_pickle import Reader
from nasbench_sim.tables.stream_scan import scan
from tests.tables.nats_factory import SPACE, architecture, nb201_object
from tests.tables.test_nats_files import assert_every_number, one_line

CELLS = {cell: architecture(cell, seeds=(777, 888) if cell == 5 else (777, 888, 999)) for cell in (0, 5, 15_624)}
OBJECT = nb201_object(CELLS)
NOTHING: frozenset[str] = frozenset({"no such key"})


def old(content: object, **kw: Any) -> bytes:
    """What torch.save wrote before 1.6: the test below holds it against torch itself."""
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts: tuple[object, ...] = (0x1950A86A20F9469CFC6C, 1001, facts, content, [])
    return b"".join(pickle.dumps(p, 2, **kw) for p in parts)


def new(content: object) -> bytes:
    """What torch.save writes since 1.6."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, 2))
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


def save(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.pth"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("container", [old, new])
def test_every_number_of_either_container(tmp_path: Path, container: Any) -> None:
    seen: list[tuple[str, int, int]] = []
    path = save(tmp_path, container(OBJECT))
    out = dict(decoded_pth(path, SPACE, progress=lambda *a: seen.append(a)))
    assert list(out) == list(CELLS)
    for cell, runs in out.items():
        assert_every_number(runs, CELLS[cell])
    assert seen[-1][1] <= seen[-1][2] == path.stat().st_size
    assert [s[1] for s in seen] == sorted(s[1] for s in seen)


@pytest.mark.parametrize("modern", [False, True])
def test_torch_writes_these_containers_and_reads_the_same(tmp_path: Path, modern: bool) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    torch.save(OBJECT, path, _use_new_zipfile_serialization=modern)
    if not modern:
        assert path.read_bytes() == old(OBJECT)
    scalar = np._core.multiarray.scalar
    names = [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype]
    with torch.serialization.safe_globals([*names, type(np.dtype("f8"))]):
        theirs = torch.load(path, weights_only=True)
    out = dict(decoded_pth(path, SPACE))
    for cell, runs in out.items():
        full = theirs["arch2infos"][cell]
        assert_every_number(runs, {"12": full["less"], "200": full["full"]})
    assert list(out) == theirs["evaluated_indexes"]


@pytest.mark.parametrize("piece", [1, 7, 64, 10_000])
def test_where_the_window_ends_makes_no_difference(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"a": [1, 70_000, -5, 1.5, None, True], "b": ("x" * 300, "y"), "c": {"k": {i: i / 7 for i in range(40)}}}
    expected = whole(pickle.dumps(small, 2))
    assert expected == small
    monkeypatch.setattr(stream_scan, "_PIECE", piece)
    assert whole(pickle.dumps(small, 2)) == small
    if piece >= 64:
        data = pickle.dumps(OBJECT["arch2infos"], 2)
        reader = Reader(io.BytesIO(data), scan(io.BytesIO(data)).fetched, nats_pth.RECORD)
        assert [r["arch_index"] for r in reader.records()] == [c for c in CELLS for _ in range(2)]


def whole(data: bytes) -> Any:
    """A pickle without records."""
    reader = Reader(io.BytesIO(data), scan(io.BytesIO(data)).fetched, NOTHING)
    assert list(reader.records()) == []
    return reader.top


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(max_size=5) | st.integers(0, 300), inner) | st.tuples(inner)
    ),
    max_leaves=30,
)


@given(PLAIN, st.booleans())
def test_plain_data_comes_back(value: Any, twice: bool) -> None:
    value = {"one": value, "two": value} if twice else value  # the second is fetched from the memo
    assert whole(pickle.dumps(value, 2)) == value


def test_the_globals_of_plain_results_come_back() -> None:
    value = {"a": np.float64(0.1), "b": np.float64(0.2), "c": {1, 2}, "d": b"bytes"}
    out = whole(pickle.dumps(value, 2))
    assert out == {"a": 0.1, "b": 0.2, "c": [1, 2], "d": b"bytes"}
    assert type(out["a"]) is float


def test_records_are_emptied_and_strings_survive_them() -> None:
    keys = sorted(nats_pth.RECORD)
    record = [{**dict.fromkeys(keys), "n": i, "shared": "word" * 3, "own": {"x": i}} for i in range(3)]
    data = pickle.dumps([*record, "word" * 3], 2)
    reader = Reader(io.BytesIO(data), scan(io.BytesIO(data)).fetched, nats_pth.RECORD)
    seen = [(r["n"], r["own"]["x"], r["shared"]) for r in reader.records()]
    assert seen == [(i, i, "word" * 3) for i in range(3)]
    assert reader.top == [{}, {}, {}, "word" * 3]


class Evil:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


PROTO = b"\x80\x02"


@pytest.mark.parametrize(
    ("said", "data"),
    [
        (
            "the global builtins.eval, which is not on the allow-list",
            pickle.dumps(Evil(eval, "1"), 2, fix_imports=False),
        ),
        ("the global posix.system", pickle.dumps({"a": [Evil(__import__("os").system, "true")]}, 2)),
        ("a global is used in a way", PROTO + b"ccollections\nOrderedDict\nK\x01\x85R."),
        ("a global is used in a way", PROTO + b"c__builtin__\nset\n(K\x01t\x85R."),
        ("a global is used in a way", PROTO + b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00rot1\x86R."),
        ("a global is used in a way", PROTO + b"cnumpy\ndtype\nX\x01\x00\x00\x00OK\x00K\x01\x87R."),
        ("a global is used in a way", PROTO + b"cnumpy.core.multiarray\nscalar\nK\x01K\x01\x86R."),
        ("a global is used in a way", PROTO + b"K\x01K\x01R."),
        ("state for what is no plain", PROTO + b"}}b."),
        ("state for what is no plain", PROTO + b"ccollections\nOrderedDict\n}b."),
        ("it holds tensors", PROTO + b"X\x01\x00\x00\x00aQ."),
        ("opcode 0x94 is not allowed", pickle.dumps({"a": 1.5}, 4).replace(b"\x80\x04\x95", b"\x80\x02\x94")),
        ("opcode 0x70 is not allowed", PROTO + b"K\x01p0\n."),
        ("opcode 0x82 is not allowed", PROTO + b"\x82\x01."),
        ("opcode 0x69 is not allowed", PROTO + b"(ilib\nCell\n."),
        ("opcode 0x8b is not allowed", PROTO + b"\x8b\xff\xff\xff\x7fa."),
        ("it ends within the opcode", PROTO + b"K\x01"),
        ("it ends within the opcode", PROTO + b"K"),
        ("it ends within the opcode", PROTO + b"X\x50\x00\x00\x00abc"),
        ("a string or number of", PROTO + b"X\xff\xff\xff\x7fabc."),
        ("a string or number of", PROTO + b"\x8a\xff" + b"a" * 255 + b"."),
        ("a global without a name", PROTO + b"c" + b"a" * 400),
        ("memo entry 5 is not there", PROTO + b"h\x05."),
        ("memo entry 2147483647", PROTO + b"j\xff\xff\xff\x7f."),
        ("items set on what is no dictionary", PROTO + b"]K\x01K\x02s."),
        ("items appended to what is no list", PROTO + b"}K\x01a."),
        ("nested too deeply", PROTO + b"(" * 100 + b"t" * 100 + b"."),
        ("", PROTO + b"t."),
        ("", PROTO + b"(K\x01u."),
        ("", PROTO + b"}]K\x01s."),
        ("", PROTO + b"\x87."),
        ("", PROTO + b"K\x01K\x02."),
        ("", PROTO + b"X\x01\x00\x00\x00\xff."),
        ("", PROTO + b"."),
    ],
)
@pytest.mark.parametrize("container", ["old", "new"])
def test_anything_else_is_refused_in_one_line(tmp_path: Path, said: str, data: bytes, container: str) -> None:
    if container == "old":
        file = old(None)[: -len(pickle.dumps(None, 2) + pickle.dumps([], 2))] + data
    else:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("x/data.pkl", data)
        file = out.getvalue()
    path = save(tmp_path, file)
    one_line(said, lambda: list(decoded_pth(path, SPACE)), path)


def test_a_bomb_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = b"\x80\x02](" + b"}" * (stream_pickle.MAX_BETWEEN + 100) + b"e."
    one_line("bytes without a record", lambda: list(decoded_pth(save(tmp_path, _zip(many)), SPACE)))
    monkeypatch.setattr(nats_pth, "MAX_BYTES", 1 << 20)
    packed = _zip(b"\x80\x02" + b"N" * (4 << 20) + b".", zipfile.ZIP_DEFLATED)
    assert len(packed) < 1 << 14
    one_line("unpacks to more than 1048576 bytes", lambda: list(decoded_pth(save(tmp_path, packed), SPACE)))
    one_line("larger than the 1048576 bytes", lambda: list(decoded_pth(save(tmp_path, bytes(2 << 20)), SPACE)))
    monkeypatch.setattr(stream_pickle, "_MAX_KEPT", 3)
    shared = pickle.dumps([[a, a] for a in ("word1", "word2", "word3", "word4")], 2)
    with pytest.raises(pickle.UnpicklingError, match="shares too many objects"):
        whole(shared)


def _zip(data: bytes, method: int = zipfile.ZIP_STORED, name: str = "x/data.pkl") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("said", "data"),
    [
        ("not a file written by torch.save", b""),
        ("not a file written by torch.save", pickle.dumps({"a": 1})),
        ("no single data.pkl in it", _zip(b"", name="data.txt")),
        ("no single data.pkl in it", _zip(pickle.dumps(1, 2), zipfile.ZIP_LZMA)),
        ("no single data.pkl in it", _zip(pickle.dumps(1, 2), zipfile.ZIP_BZIP2)),
        ("a damaged zip archive", b"PK\x03\x04" + bytes(100)),
        ("a damaged zip archive", _zip(pickle.dumps([1.5] * 50, 2)).replace(b"G?", b"G@", 1)),
        ("not a NAS-Bench-201 file", old({"a": 1})),
        ("not a NAS-Bench-201 file", old([1])),
        ("expected 15625; is this the topology", old({**OBJECT, "meta_archs": ["8:8"]})),
        ("cifar10-valid seed 111, 12 epochs: train_acc1es: not all are numbers", None),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, said: str, data: bytes | None) -> None:
    if data is None:
        bad = architecture(3)
        bad["12"]["all_results"]["cifar10-valid", 111]["train_acc1es"][0] = "x"
        data = old(nb201_object({3: bad}))
    path = save(tmp_path, data)
    one_line(said, lambda: list(decoded_pth(path, SPACE)), path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    one_line("cannot be read", lambda: list(decoded_pth(tmp_path / "none.pth", SPACE)))
    (tmp_path / "dir.pth").mkdir()
    one_line("cannot be read", lambda: list(decoded_pth(tmp_path / "dir.pth", SPACE)))


SMALL = old({"meta_archs": ["a"], "arch2infos": {0: {"full": {"x": [0.5, 1]}}}, "evaluated_indexes": {1, 2}})


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SMALL) - 1), st.binary(min_size=1, max_size=4), st.integers(0, len(SMALL)))
def test_damaged_files_are_one_line(tmp_path_factory: pytest.TempPathFactory, at: int, patch: bytes, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    for data in (SMALL[:at] + patch + SMALL[at + len(patch) :], SMALL[:cut]):
        path.write_bytes(data)
        one_line("", lambda: list(decoded_pth(path, SPACE)), path)
