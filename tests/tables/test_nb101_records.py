"""Records of the official NAS-Bench-101 files: decoded in bulk, number by number, and refused by number."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import ArchError, TableError
from nasbench_sim.spaces.nb101 import module_hash, parse_module
from nasbench_sim.spaces.nb101_batch import module_hashes
from nasbench_sim.tables.module_codes import check_codes, graph_code, module_code, module_of, modules_of, ops_code
from nasbench_sim.tables.nb101_metrics import MetricsReader
from nasbench_sim.tables.nb101_records import RecordDecoder, Runs
from nasbench_sim.tables.protobuf_fields import read_fields, read_varint
from tests.tables.tfrecords import CHAIN, FORK, evaluation, field, metrics, numbers, record, varint

MODULES = ["2:1:io", "3:111:ipo", "4:111011:i31o", "7:110100100001100100101:i3pp31o", "7:100000010000010010011:i11111o"]
HASH = "0123456789abcdef" * 2
VALUES = np.array([[[100.0, 0.5, 0.25, 0.125], [200.0, 1.0, 0.75, 0.625]]])


def decode(*records: bytes) -> Runs:
    return RecordDecoder("f.tfrecord").decode(0, records)


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(TableError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return str(caught.value)


# --- modules as numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", MODULES)
def test_a_code_is_its_module(text: str) -> None:
    matrix, ops = parse_module(text)
    code = module_code(matrix, ops)
    again, names = module_of(code)
    assert np.array_equal(again, matrix) and names == ops
    assert code < 1 << 34
    assert code == graph_code("".join(map(str, matrix.ravel().tolist()))) | ops_code(ops)


def test_codes_in_bulk_have_the_hashes_of_their_modules() -> None:
    modules = [parse_module(text) for text in MODULES]
    codes = np.array([module_code(*module) for module in modules], dtype=np.uint64)
    assert module_hashes(*modules_of(codes)).tolist() == [module_hash(*module).encode() for module in modules]
    check_codes(codes)


@pytest.mark.parametrize("code", [0, 1, 8, 2 | 1 << 4, 3 | 3 << 24, 3 | 1 << 26, 7 | 0x3FF << 3, 1 << 40, 2**64 - 1])
def test_a_number_that_is_no_module(code: int) -> None:
    with pytest.raises(ArchError, match="is not the code of"):
        module_of(code)


# --- protocol buffers -----------------------------------------------------------------------------------------------


@given(st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_varints(value: int) -> None:
    data = varint(value)
    assert read_varint(b"\xff" + data + b"\x01", 1, len(data) + 2) == (value, 1 + len(data))
    with pytest.raises(TableError, match="the varint at byte 0 is cut off"):
        read_varint(data, 0, len(data) - 1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x80" * 11, "varint at byte 0"),
        (b"\xff" * 9 + b"\x7f", "above 2^64"),
        (b"\x00\x01", "field number 0 at byte 0"),
        (b"\x0b", "wire type 3 of field 1"),
        (b"\x0d1234", "wire type 5 of field 1"),
        (b"\x0e", "wire type 6 of field 1"),
        (b"\x091234567", "reaches 1 bytes past"),
        (b"\x0a\x05abc", "reaches 2 bytes past"),
        (b"\x0a" + varint(2**60), f"reaches {2**60} bytes past"),
        (b"\x08", "varint at byte 1 is cut off"),
    ],
)
def test_what_is_no_message(data: bytes, why: str) -> None:
    assert why in refused(lambda: read_fields(data))


# --- metrics --------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(0, 2**31 - 1), st.sampled_from([None, b"", b"/x/model.ckpt-1", b"\xff" * 200])),
        min_size=1,
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_metrics_of_any_layout(runs: list[tuple[int, bytes | None]], shuffled: random.Random) -> None:
    """Parameter counts of one to five bytes, checkpoint paths, and fields in any order."""
    values = numbers(np.random.default_rng(len(runs)), len(runs))
    messages = []
    for (params, checkpoint), value in zip(runs, values, strict=True):
        parts = [[0.0, 0.1, 0.1, 0.1], *value.tolist()]
        inner = b"".join(field(1, evaluation(part, 1.0, checkpoint)) for part in parts)
        fields = [inner, field(2, params), field(3, 1.0)]
        shuffled.shuffle(fields)
        messages.append(b"".join(fields))
    read = MetricsReader().read(messages, "f")
    assert read.params.tolist() == [params for params, _ in runs]
    assert np.array_equal(read.values, values)


def test_more_layouts_than_are_remembered() -> None:
    """Of one length: checkpoint paths that share 40 bytes between three evaluations in different ways."""
    splits = [(a, b, 40 - a - b) for a in range(0, 40, 3) for b in range(0, 40 - a, 5)]
    values = numbers(np.random.default_rng(0), len(splits))
    messages = []
    for lengths, value in zip(splits, values, strict=True):
        parts = zip([[0.0, 0.1, 0.1, 0.1], *value.tolist()], lengths, strict=True)
        messages.append(b"".join(field(1, evaluation(p, 1.0, bytes(n))) for p, n in parts) + field(2, 7))
    assert len({len(message) for message in messages}) == 1 and len(messages) > 50
    assert np.array_equal(MetricsReader().read(messages, "f").values, values)


def bad_message(**change: Any) -> bytes:
    """A good message with something wrong in it."""
    parts = [[0.0, 0.1, 0.1, 0.1], [100.0, 0.5, 0.25, 0.125], [200.0, 1.0, 0.75, 0.625]]
    inner = [evaluation(part) for part in parts]
    tail = field(2, 5)
    for what, value in change.items():
        if what == "final":
            inner[2] = value
        elif what == "evaluations":
            inner = inner[:value] if value <= 3 else [*inner, inner[0]]
        else:
            tail = value
    return b"".join(field(1, one) for one in inner) + tail


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "0 evaluations instead of 3"),
        (bad_message(evaluations=2), "2 evaluations instead of 3"),
        (bad_message(evaluations=4), "4 evaluations instead of 3"),
        (bad_message(tail=b""), "has no trainable_parameters"),
        (bad_message(tail=field(2, 5) + field(2, 6)), "ModelMetrics has trainable_parameters twice"),
        (bad_message(tail=field(2, 5) + field(9, 1)), "ModelMetrics has an unknown field 9"),
        (bad_message(tail=field(2, 5.0)), "trainable_parameters (field 2) is not a varint but wire type 1"),
        (bad_message(tail=field(2, 2**64 - 1)), "trainable_parameters is not a number in 0..2147483647"),
        (bad_message(tail=field(2, 2**31)), "trainable_parameters 2147483648 is above 2147483647"),
        (bad_message(tail=field(1, 5)), "evaluation_data (field 1) is not a length and bytes but wire type 0"),
        (bad_message(final=evaluation([1.0, 0.5, 0.5])), "the final evaluation has no test_accuracy"),
        (bad_message(final=evaluation([1, 1, 1, 1]) + field(5, 1.0)), "the final evaluation has test_accuracy twice"),
        (bad_message(final=evaluation([1, 1, 1, 1]) + field(7, 1.0)), "the final evaluation has an unknown field 7"),
        (bad_message(final=evaluation([1, 1, 1, 1])[:-1]), "reaches 1 bytes past the end"),
        (bad_message(final=evaluation([1.0, 1.0, 1.5, 1.0])), "final validation_accuracy is 1.5, outside 0..1"),
        (bad_message(final=evaluation([1.0, 1.0, -0.1, 1.0])), "final validation_accuracy is -0.1, outside 0..1"),
        (bad_message(final=evaluation([1.0, float("nan"), 1.0, 1.0])), "final train_accuracy is nan, outside 0..1"),
        (bad_message(final=evaluation([float("inf"), 1.0, 1.0, 1.0])), "final training_time is inf, outside 0..1e+09"),
        (bad_message(final=evaluation([-1.0, 1.0, 1.0, 1.0])), "final training_time is -1, outside 0..1e+09"),
    ],
)
def test_metrics_that_cannot_be(message: bytes, why: str) -> None:
    """Alone, and among good ones of the same length, of which it must not take the layout."""
    good = metrics(VALUES[0], 5)
    assert why in refused(lambda: MetricsReader().read([message], "f.tfrecord"))
    reader = MetricsReader()
    reader.read([good], "f.tfrecord")
    said = refused(lambda: reader.read([good, good, message, good], "f.tfrecord", 100))
    assert said.startswith("f.tfrecord: record 102:") and why in said


# --- records --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [True, False])
def test_a_batch_of_records(lines: bool) -> None:
    rng = np.random.default_rng(3)
    modules = [parse_module(text) for text in MODULES]
    values = numbers(rng, len(modules))
    names = [module_hash(*module) for module in modules]
    budgets = [108, 4, 12, 36, 108]
    runs = decode(
        *(
            record(name, epochs, module, metrics(value, 1000 * i), lines=lines)
            for i, (name, epochs, module, value) in enumerate(zip(names, budgets, modules, values, strict=True))
        )
    )
    assert runs.hashes.tolist() == [name.encode() for name in names]
    assert runs.epochs.tolist() == budgets
    assert runs.params.tolist() == [0, 1000, 2000, 3000, 4000]
    assert np.array_equal(runs.values, values)
    assert runs.codes.tolist() == [module_code(*module) for module in modules]


GOOD = [HASH, 108, "011001000", "input,conv3x3-bn-relu,output", ""]


def changed(**parts: Any) -> bytes:
    names = ("name", "epochs", "adjacency", "ops", "metrics")
    row = list(GOOD)
    row[4] = json.loads(record(HASH, 108, CHAIN, metrics(VALUES[0], 5)))[4]
    for name, value in parts.items():
        row[names.index(name)] = value
    return json.dumps(row).encode()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 10_000, "is not JSON"),
        (b"{}", "is not a list of module_hash, epochs, adjacency, operations, metrics"),
        (b'"abcde"', "is not a list of"),
        (b'["a", 1]', "is not a list of"),
        (changed(name=1), "module_hash is int, not str"),
        (changed(name=HASH[:-1]), "is not 32 hexadecimal digits"),
        (changed(name=HASH[:-1] + "G"), "is not 32 hexadecimal digits"),
        (changed(name=HASH[:-1] + "\u0666"), "is not 32 hexadecimal digits"),
        (changed(name=HASH.upper()), "is not 32 hexadecimal digits"),
        (changed(epochs=True), "epochs is bool, not int"),
        (changed(epochs=108.0), "epochs is float, not int"),
        (changed(epochs=5), "epochs 5 is none of 4, 12, 36, 108"),
        (changed(adjacency="0110010001"), "is 4, 9, 16, 25, 36 or 49 digits 0 and 1"),
        (changed(adjacency=""), "is 4, 9, 16, 25, 36 or 49 digits 0 and 1"),
        (changed(adjacency="0120010001"[:9]), "digits 0 and 1"),
        (changed(adjacency="011101000"), "is upper triangular, row 1"),
        (changed(adjacency="011001001"), "is upper triangular, row 2"),
        (changed(adjacency="0100", ops="input,output"), None),
        (changed(adjacency="0" + "1" * 4 + "00" + "1" * 3 + "000" + "1" * 2 + "00001" + "00000"), "at most 9 edges"),
        (changed(ops="input,conv5x5,output"), "unknown operation 'conv5x5'"),
        (changed(ops="conv3x3-bn-relu,input,output"), "are 'input', up to 5 others and 'output'"),
        (changed(ops="x" * 5000 + ",output"), "are 'input', up to 5 others and 'output'"),
        (changed(ops="input," + "x" * 5000 + ",output"), "unknown operation 'xxxx"),
        (changed(ops="input,output"), "a graph of 3 vertices and 2 operations"),
        (changed(metrics="!!!!"), "are not base64"),
        (changed(metrics="AAA"), "are not base64"),
        (changed(metrics="\u00e9\u00e9\u00e9\u00e9"), "are not base64"),
        (changed(metrics="AAAA"), "its metrics: field number 0"),
        (changed()[:-1], "is not JSON"),
        (changed() + b"," + changed(), "is not JSON"),
    ],
)
def test_records_that_cannot_be(bad: bytes, why: str | None) -> None:
    """Alone, and in the middle of good ones, where the message names its number."""
    good = changed()
    if why is None:
        assert len(decode(bad).codes) == 1
        return
    assert why in refused(lambda: decode(bad))
    batch = [good, good, bad, good]
    said = refused(lambda: RecordDecoder("f.tfrecord").decode(500, batch))
    assert said.startswith("f.tfrecord: record 502") and why in said


def test_records_do_not_run_together() -> None:
    """Pieces that only make JSON when joined with their neighbours are no records."""
    one = changed().decode()
    half = len(one) // 2
    for cut in (half, one.index(",") + 1, len(one) - 1):
        batch = [one[:cut].encode(), one[cut:].encode(), f"{one},{one}".encode(), one.encode()]
        assert "record 0 is not JSON" in refused(lambda batch=batch: decode(*batch))
    row = json.dumps(GOOD)
    nested = f"[{row}".encode(), f"{row}]".encode()
    assert "is not JSON" in refused(lambda: decode(*nested))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_records_are_read_or_refused_in_one_line(data: st.DataObject) -> None:
    """Flipped, deleted, repeated bytes: a record that still passes is a well-formed run, all else is a TableError."""
    good = record(module_hash(*FORK), 108, FORK, metrics(VALUES[0], 3_000_000))
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        how = data.draw(st.sampled_from(["flip", "delete", "repeat", "digit"]))
        if how == "flip":
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "delete" and len(raw) > 1:
            del raw[at : at + data.draw(st.integers(1, 9))]
            raw = raw or bytearray(b"[")
        elif how == "repeat":
            raw[at:at] = raw[at : at + data.draw(st.integers(1, 30))]
        else:
            raw[at] = data.draw(st.sampled_from(list(b'0189"[]{},:\\nA=')))
    try:
        runs = decode(good, bytes(raw))
    except TableError as error:
        assert "record 1" in str(error) and "\n" not in str(error)
    else:
        check_codes(runs.codes)
        assert ((runs.values[..., 1:] >= 0) & (runs.values[..., 1:] <= 1)).all()
