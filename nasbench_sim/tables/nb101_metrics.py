"""`ModelMetrics` messages of NAS-Bench-101 in bulk: what a training run measured, from its protocol-buffer bytes.

    ModelMetrics    1 evaluation_data (repeated EvaluationData), 2 trainable_parameters (int32), 3 total_time (double)
    EvaluationData  1 current_epoch, 2 training_time (seconds), 3 train_accuracy, 4 validation_accuracy,
                    5 test_accuracy (doubles, fractions of 1), 6 checkpoint_path (string)

(google-research/nasbench, model_metrics.proto, proto2.) A run has three evaluations: before training, halfway and
final; the first is not used, as in the official reader. The official reader takes 0 for a field that is absent; here
that is an error, since 0 was not measured.

A writer keeps to one order of the fields, so messages of one length nearly always have one layout. It is worked out
strictly once, by `read_fields`, and then compared with all messages of its length at once: bytes that steer the reading
(tags, lengths, continuation bits) must be the same, the others are values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import TableError
from nasbench_sim.tables.protobuf_fields import BYTES, DOUBLE, VARINT, Field, expect, read_fields

#: what is kept of an evaluation, in this order; with the field's number in EvaluationData
MEASURED = {"training_time": 2, "train_accuracy": 3, "validation_accuracy": 4, "test_accuracy": 5}
_MODEL = {1: ("evaluation_data", BYTES), 2: ("trainable_parameters", VARINT), 3: ("total_time", DOUBLE)}
_EVALUATION = {
    1: ("current_epoch", DOUBLE),
    **{number: (name, DOUBLE) for name, number in MEASURED.items()},
    6: ("checkpoint_path", BYTES),
}
_MAX_SECONDS = 1e9
_MAX_LAYOUTS = 8  # kept a length, and compared with a whole batch; a file with more is read one by one


class Metrics(NamedTuple):
    """What `n` runs measured.

    `params` int64 `[n]`; `values` float64 `[n, 2, 4]`: halfway and final, each (training time in seconds, train,
    validation and test accuracy as fractions of 1).
    """

    params: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class _Layout(NamedTuple):
    """Which bytes of a message steer its reading (`mask`, `[L]`), what they are, and where the numbers stand."""

    mask: npt.NDArray[np.uint8]
    steering: npt.NDArray[np.uint8]
    doubles: npt.NDArray[np.int64]  # [8 * 8] positions of the bytes of `values`
    params: slice


class MetricsReader:
    """Reads batches of messages; remembers the layouts that it has seen."""

    def __init__(self) -> None:
        self._layouts: dict[int, list[_Layout]] = {}

    def read(self, messages: Sequence[bytes], where: str, first: int = 0) -> Metrics:
        """The numbers of `messages`; raises `TableError` naming the record (`first` is the number of message 0)."""
        out = Metrics(np.empty(len(messages), dtype=np.int64), np.empty((len(messages), 2, 4)))
        by_length: dict[int, list[int]] = {}
        for i, message in enumerate(messages):
            by_length.setdefault(len(message), []).append(i)
        for length, those in by_length.items():
            rows = np.array(those)
            block = np.frombuffer(b"".join([messages[i] for i in those]), dtype=np.uint8).reshape(len(those), length)
            self._read_block(block, rows, out, where, first)
        _check_ranges(out, where, first)
        return out

    def _read_block(
        self, block: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], out: Metrics, where: str, first: int
    ) -> None:
        known = self._layouts.setdefault(block.shape[1], [])
        left = np.arange(len(rows))
        for layout in known:
            left = _fill(layout, block, rows, left, out)
        while left.size:
            try:
                layout = _layout(block[left[0]].tobytes())
            except TableError as error:
                raise TableError(f"{where}: record {first + rows[left[0]]}: its metrics: {error}") from None
            if len(known) < _MAX_LAYOUTS:
                known.append(layout)
                left = _fill(layout, block, rows, left, out)
            else:
                _fill(layout, block, rows, left[:1], out)
                left = left[1:]


def _fill(
    layout: _Layout,
    block: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    left: npt.NDArray[np.int64],
    out: Metrics,
) -> npt.NDArray[np.int64]:
    """Take the numbers of those messages in `left` that have this layout; returns the others."""
    if not left.size:
        return left
    here = block if len(left) == len(block) else block[left]
    fits = ((here & layout.mask) == layout.steering).all(axis=1)
    mine = here if fits.all() else here[fits]
    doubles = np.ascontiguousarray(mine[:, layout.doubles]).view("<f8")
    out.values[rows[left[fits]]] = doubles.reshape(-1, 2, 4)
    digits = (mine[:, layout.params] & 0x7F).astype(np.int64)
    out.params[rows[left[fits]]] = (digits << (7 * np.arange(digits.shape[1]))).sum(axis=1)
    return np.asarray(left[~fits])


def _layout(message: bytes) -> _Layout:
    """The layout of one message, read strictly; raises `TableError` saying what is wrong with it."""
    mask = np.full(len(message), 0xFF, dtype=np.uint8)
    fields = _by_number(message, read_fields(message), _MODEL, "ModelMetrics", mask, repeated=1)
    evaluations = fields.get(1, [])
    if len(evaluations) != 3:
        raise TableError(f"{len(evaluations)} evaluations instead of 3 (before training, halfway, final)")
    if 2 not in fields:
        raise TableError("it has no trainable_parameters")
    params = fields[2][0]
    if params.stop - params.start > 5:
        raise TableError("trainable_parameters is not a number in 0..2147483647")
    doubles = []
    for place, evaluation in zip(("initial", "halfway", "final"), evaluations, strict=True):
        mask[evaluation.start : evaluation.stop] = 0xFF  # a message inside, not a string
        inner = read_fields(message, evaluation.start, evaluation.stop)
        measured = _by_number(message, inner, _EVALUATION, f"the {place} evaluation", mask)
        if place == "initial":
            continue
        for name, number in MEASURED.items():
            if number not in measured:
                raise TableError(f"the {place} evaluation has no {name}")
            doubles.append(measured[number][0].start)
    positions = np.add.outer(np.array(doubles), np.arange(8)).ravel()
    return _Layout(mask, np.frombuffer(message, dtype=np.uint8) & mask, positions, slice(params.start, params.stop))


def _by_number(
    message: bytes,
    fields: list[Field],
    known: dict[int, tuple[str, int]],
    what: str,
    mask: npt.NDArray[np.uint8],
    repeated: int = 0,
) -> dict[int, list[Field]]:
    """Fields by number, each known, of its type and there once (but `repeated`); their value bytes leave the mask."""
    out: dict[int, list[Field]] = {}
    for field in fields:
        if field.number not in known:
            raise TableError(f"{what} has an unknown field {field.number}")
        name, wire = known[field.number]
        expect(field, wire, name)
        if field.number in out and field.number != repeated:
            raise TableError(f"{what} has {name} twice")
        out.setdefault(field.number, []).append(field)
        mask[field.start : field.stop] = 0x80 if wire == VARINT else 0x00
    return out


def _check_ranges(metrics: Metrics, where: str, first: int) -> None:
    top = np.array([_MAX_SECONDS, 1.0, 1.0, 1.0])
    bad = ~((metrics.values >= 0) & (metrics.values <= top))  # also bad where NaN
    if bad.any():
        row, when, what = (int(i) for i in np.argwhere(bad)[0])
        raise TableError(
            f"{where}: record {first + row}: {('halfway', 'final')[when]} {list(MEASURED)[what]} is "
            f"{metrics.values[row, when, what]:g}, outside 0..{top[what]:g}"
        )
    if (metrics.params >> 31).any():
        row = int(np.argmax(metrics.params >> 31 != 0))
        raise TableError(
            f"{where}: record {first + row}: trainable_parameters {metrics.params[row]} is above 2147483647"
        )
