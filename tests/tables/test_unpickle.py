"""A pickle is a program: nothing but plain data and the named records may come of one, and nothing may happen."""

from __future__ import annotations

import bz2
import copyreg
import io
import os
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_sim.errors import TableError
from nasbench_sim.tables.unpickle import FLOAT64_ARRAYS, Float64Array, Record, read_pickle


class Cell(Record):
    __slots__ = ()
    fields = frozenset({"x"})


ALLOWED = {("lib", "Cell"): Cell, **FLOAT64_ARRAYS}
PROTO = b"\x80\x02"
CELL = b"clib\nCell\n"
DTYPE = b"cnumpy\ndtype\n"


def read(data: bytes, cap: int = 1 << 20) -> Any:
    return read_pickle(data, what="thing", cap=cap, allowed=ALLOWED)


def text(s: str) -> bytes:
    return b"X" + struct.pack("<I", len(s)) + s.encode()


class Evil:
    """Pickles to a call of `function(*args)`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(PLAIN, st.sampled_from([2, 3, 4, 5]))
def test_plain_data_comes_back(value: Any, protocol: int) -> None:
    if protocol == 2:  # bytes become a call of codecs.encode there, which is refused
        value = {"n": 1, "t": (1.5, None)}
    assert read(pickle.dumps(value, protocol)) == value


def test_a_record_comes_back() -> None:
    record = read(PROTO + CELL + b")\x81}" + text("x") + b"K\x05sb.")
    assert isinstance(record, Cell)
    assert record.state == {"x": 5}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["system", "eval", "exec", "open"])
def test_nothing_is_executed(tmp_path: Path, protocol: int, kind: str) -> None:
    mark = tmp_path / "mark"
    call = {
        "system": (os.system, f"touch {mark}"),
        "eval": (eval, f"open({str(mark)!r}, 'w')"),
        "exec": (exec, f"open({str(mark)!r}, 'w')"),
        "open": (open, str(mark), "w"),
    }[kind]
    data = pickle.dumps({"a": [Evil(*call)]}, protocol)
    with pytest.raises(TableError) as caught:
        read(data)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    if protocol >= 2:
        assert "not on the allow-list" in str(caught.value)
    pickle.loads(data)  # noqa: S301  (the same bytes do run in the ordinary unpickler: the test can fail)
    assert mark.exists()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("arguments to a record", CELL + b"K\x01\x85R."),
        ("arguments to NEWOBJ", CELL + b"K\x01\x85\x81."),
        ("slots state", CELL + b")\x81N}" + text("x") + b"K\x05s\x86b."),
        ("slots state with a foreign slot", CELL + b")\x81N}" + text("__class__") + b"K\x05s\x86b."),
        ("state with a foreign field", CELL + b")\x81}" + text("y") + b"K\x05sb."),
        ("state that is a list", CELL + b")\x81]b."),
        ("a class as a field", CELL + b")\x81}" + text("x") + CELL + b"sb."),
        ("a list as a field", CELL + b")\x81}" + text("x") + b"]sb."),
        ("state for the class itself", CELL + b"}" + text("x") + b"K\x05sb."),
        ("slots state for the class itself", CELL + b"N}" + text("fields") + b"K\x05s\x86b."),
        ("state for a function", DTYPE + b"}" + text("_call") + b"K\x05sb."),
        ("slots state for a function", DTYPE + b"N}" + text("_call") + b"K\x05s\x86b."),
        ("a dtype of objects", DTYPE + text("O") + b"\x89\x88\x87R."),
        ("a dtype of strings", DTYPE + text("S8") + b"\x89\x88\x87R."),
        ("an array that is reconstructed strangely", b"cnumpy.core.multiarray\n_reconstruct\nK\x01K\x02\x86R."),
        ("a call of a number", b"K\x01)R."),
        ("NEWOBJ of a function", DTYPE + b")\x81."),
        ("items set on a class", CELL + b"K\x01K\x02s."),
        ("appending to a record", CELL + b")\x81K\x01a."),
        ("persistent id", b"K\x01Q."),
        ("persistent id in text", b"P1\n."),
        ("extension registry", b"\x82\x01."),
        ("INST", b"(ilib\nCell\n."),
        ("OBJ", b"(" + CELL + b"o."),
        ("NEWOBJ_EX", CELL + b")}\x92."),
        ("memo bomb", b"K\x01r\xff\xff\xff\x7f."),
        ("smaller memo bomb", b"K\x01r\x00\x00\x00\x01."),
        ("huge bytes", b"B\xff\xff\xff\x7f" + b"a."),
        ("huge bytes, 8 byte length", b"\x8e" + b"\xff" * 7 + b"\x00a."),
        ("huge string", b"X\xff\xff\xff\x7fa."),
        ("huge integer", b"\x8b\xff\xff\xff\x7fa."),
        ("integer in text", b"I" + b"9" * 50 + b"\n."),
        ("duplicates", b"]" + b"2" * 30 + b"."),
        ("bytearray", b"\x96" + b"\xff" * 7 + b"\x00a."),
        ("memo entry that is not there", b"h\x05."),
        ("stack underflow", b"\x87."),
        ("unhashable key", b"}]K\x01s."),
        ("no STOP", b"K\x01"),
        ("bytes after STOP", b"K\x01.K\x02."),
        ("a global without a name", b"clib\nCell"),
        ("an unknown opcode", b"\xfe."),
    ],
)
def test_misuse_is_refused_in_one_line(name: str, body: bytes) -> None:
    before = (Cell.fields, vars(FLOAT64_ARRAYS["numpy", "dtype"]).copy())
    with pytest.raises(TableError) as caught:
        read(PROTO + body)
    assert str(caught.value).startswith("thing: refused to unpickle, ")
    assert "\n" not in str(caught.value)
    assert (Cell.fields, vars(FLOAT64_ARRAYS["numpy", "dtype"])) == before


@pytest.mark.parametrize("size", [1 << 40, (1 << 63) + 1, 10])
def test_a_frame_longer_than_the_file_is_refused(size: int) -> None:
    with pytest.raises(TableError, match="frame at byte 2 claims"):
        read(b"\x80\x04\x95" + struct.pack("<Q", size) + b"K\x01.")


def test_a_registered_extension_is_refused_too() -> None:
    copyreg.add_extension("os", "system", 241)
    try:
        data = pickle.dumps(os.system, 2) if os.system.__module__ == "os" else PROTO + b"\x82\xf1."
        assert pickle.loads(PROTO + b"\x82\xf1.") is os.system  # noqa: S301  (now cached: find_class is not asked again)
        with pytest.raises(TableError, match="0x82"):
            read(PROTO + b"\x82\xf1.")
        with pytest.raises(TableError):
            read(data)
    finally:
        copyreg.remove_extension("os", "system", 241)


def test_files_above_the_cap_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.pkl"
    path.write_bytes(pickle.dumps(b"x" * 1000))
    with pytest.raises(TableError, match="larger than the 100 bytes"):
        read_pickle(path, what="thing", cap=100)
    assert read_pickle(path, what="thing", cap=2000) == b"x" * 1000
    with pytest.raises(TableError, match="cannot be read"):
        read_pickle(tmp_path / "none.pkl", what="thing", cap=100)
    with pytest.raises(TableError, match="cannot be read"):
        read_pickle(tmp_path, what="thing", cap=100)


def test_float64_arrays_come_back() -> None:
    values = np.linspace(0, 1, 7)
    out = read(pickle.dumps({"a": values}, 4))["a"]
    assert isinstance(out, Float64Array)
    assert np.array_equal(out.values, values)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2)),
        np.zeros(3, dtype=np.float32),
        np.zeros(3, dtype=">f8"),
        np.array([Evil(print, "no")], dtype=object),
        np.zeros(3, dtype=[("a", "f8")]),
        np.array(1.0),
        np.array(["a"]),
    ],
    ids=["2-d", "float32", "big-endian", "objects", "records", "0-d", "strings"],
)
def test_other_arrays_are_refused(array: Any) -> None:
    with pytest.raises(TableError, match="refused to unpickle"):
        read(pickle.dumps(array, 4))


def test_an_array_needs_all_its_bytes() -> None:
    data = pickle.dumps(np.arange(4.0), 4)
    assert data.count(b"K\x04") == 1
    with pytest.raises(TableError, match="needs 40 bytes"):
        read(data.replace(b"K\x04", b"K\x05"))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_plain_data_or_one_line(data: bytes, header: bool) -> None:
    _harmless(PROTO + data if header else data)


REAL = pickle.dumps({"a": np.arange(3.0), "b": [(1, 2), {"c": 1.5}]}, 4)


@given(st.integers(0, len(REAL) - 1), st.integers(0, 255), st.integers(0, len(REAL)))
def test_damaged_pickles_are_plain_data_or_one_line(at: int, byte: int, length: int) -> None:
    _harmless(REAL[:at] + bytes([byte]) + REAL[at + 1 :])
    if length < len(REAL):
        with pytest.raises(TableError):
            read(REAL[:length])


def _harmless(data: bytes) -> None:
    try:
        _assert_plain(read(data))
    except TableError as error:
        assert "\n" not in str(error)


def _assert_plain(value: Any) -> None:
    if isinstance(value, (list, tuple)):
        for v in value:
            _assert_plain(v)
    elif isinstance(value, dict):
        for k, v in value.items():
            _assert_plain(k)
            _assert_plain(v)
    else:
        stand_ins = (Record, type)
        assert value is None or isinstance(value, (bool, int, float, str, bytes, *stand_ins)) or callable(value)


# --- the official NATS-Bench slices: the allow-list that an importer of them would need ------------------------------


def _float_scalar(dtype: object, raw: object) -> float:
    if type(raw) is not bytes or len(raw) != 8:
        raise pickle.UnpicklingError("not a float64 scalar")
    return float(np.frombuffer(raw, "<f8")[0])


def _empty_dict(*args: object) -> dict[Any, Any]:
    if args:
        raise pickle.UnpicklingError("an OrderedDict is built empty")
    return {}


NATS = {
    ("collections", "OrderedDict"): _empty_dict,
    ("numpy", "dtype"): FLOAT64_ARRAYS["numpy", "dtype"],
    ("numpy.core.multiarray", "scalar"): _float_scalar,
}


def read_slice(folder: Path, index: int) -> Any:
    """One architecture of the official NATS-Bench topology format, by our unpickler (no code runs)."""
    path = folder / "nats_tss_sample" / "NATS-tss-v1_0-3ffb9-simple" / f"{index:06d}.pickle.pbz2"
    data = bz2.BZ2Decompressor().decompress(path.read_bytes(), max_length=1 << 20)
    return read_pickle(data, what=path.name, cap=1 << 20, allowed=NATS)


@pytest.mark.real
@pytest.mark.parametrize("index", [0, 11, 284])
def test_the_real_slices_need_three_names(shared_data: Path, index: int) -> None:
    content = read_slice(shared_data, index)
    assert content["200"]["arch_index"] == index
    assert set(content) == {"12", "200"}


@pytest.mark.real
def test_the_originals_need_no_more_than_we_allow(shared_data: Path) -> None:
    data = (shared_data / "raw" / "nb2_test_acc_cf10.p").read_bytes()
    assert not [
        op for op, _, _ in pickletools.genops(io.BytesIO(data)) if op.name in ("GLOBAL", "STACK_GLOBAL", "REDUCE")
    ]
    assert len(read_pickle(data, what="runs", cap=len(data))) == 15_625
    with pytest.raises(TableError, match=r"numpy\.core\.multiarray\._reconstruct"):
        read_pickle(shared_data / "raw" / "metric_vals.pkl", what="seeds", cap=1 << 22)
