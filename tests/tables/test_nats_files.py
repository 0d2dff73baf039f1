"""NATS-Bench folders and archives: every number arrives, and nothing that is wrong does."""

from __future__ import annotations

import bz2
import os
import pickle
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import TableError
from nasbench_sim.tables import nats_files
from nasbench_sim.tables.curves_writer import Run
from nasbench_sim.tables.nats_files import Member, decoded, inflate
from nasbench_sim.tables.nats_records import SPLITS, read_runs
from tests.tables.nats_factory import FOLDER, META, SPACE, architecture, meta, packed, write_folder, write_tar

CELL = 284
GOOD = architecture(CELL)
PACKED = packed(GOOD)


def read(source: Path, workers: int = 2) -> dict[int, list[Run]]:
    return dict(decoded(source, SPACE, workers=workers))


def assert_every_number(runs: list[Run], content: dict[str, Any]) -> None:
    """All numbers of the official dictionaries, and no other."""
    found = {(str(r.epochs), r.dataset, r.seed): r for r in runs}
    assert set(found) == {(hp, *key) for hp, a in content.items() for key in a["all_results"]}
    for (hp, dataset, seed), run in found.items():
        official = content[hp]["all_results"][dataset, seed]
        names = {**SPLITS[dataset], "train": "train"}
        for field, metric in (("acc1es", "accuracy"), ("losses", "loss")):
            theirs = {f"train@{e}": v for e, v in official[f"train_{field}"].items()} | official[f"eval_{field}"]
            for name, split in names.items():
                curve = [theirs[k] for k in sorted(theirs, key=lambda k: int(k.split("@")[1])) if k.startswith(name)]
                np.testing.assert_array_equal(run.curves.get((split, metric), []), curve)
        seconds = {"train": official["train_times"][0]}
        seconds |= {SPLITS[dataset][k.split("@")[0]]: v for k, v in official["eval_times"].items()}
        costs = {"params_m": official["params"], "flops_m": official["flop"], "latency_s": official["latency"][0]}
        expected = {(s, "seconds"): v for s, v in seconds.items()} | {("network", k): v for k, v in costs.items()}
        assert run.facts == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_gives_every_number(tmp_path: Path, workers: int) -> None:
    cells = {3: architecture(3, seeds=(777, 888)), CELL: GOOD}
    folder = write_folder(tmp_path / FOLDER, cells)
    (folder / "notes.txt").write_text("not ours")
    for source in (folder, tmp_path):  # the folder, or the one it lies in
        out = read(source, workers)
        assert list(out) == [3, CELL]
        for cell, runs in out.items():
            assert_every_number(runs, cells[cell])


@pytest.mark.parametrize("inside", [FOLDER + "/", "./", ""])
def test_an_archive_gives_every_number_in_any_order(tmp_path: Path, inside: str) -> None:
    top = tarfile.TarInfo(FOLDER)
    top.type = tarfile.DIRTYPE
    members: list[tuple[tarfile.TarInfo | str, bytes]] = [
        (top, b""),
        (f"{inside}000284.pickle.pbz2", PACKED),
        (f"{inside}._000284.pickle.pbz2", b"what some systems add"),
        (f"elsewhere/{FOLDER}/000003.pickle.pbz2", b"not where it belongs"),
        (f"{inside}meta.pickle.pbz2", META),
    ]
    seen: list[tuple[str, int, int]] = []
    out = dict(decoded(write_tar(tmp_path / "x.tar", members), SPACE, progress=lambda *a: seen.append(a)))
    assert list(out) == [CELL]
    assert_every_number(out[CELL], GOOD)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert 0 < seen[-1][1] <= seen[-1][2] == (tmp_path / "x.tar").stat().st_size


def header(kind: bytes = tarfile.REGTYPE, name: str = f"{FOLDER}/000284.pickle.pbz2", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("said", "member", "data"),
    [
        ("points outside", "/000284.pickle.pbz2", PACKED),
        ("points outside", f"{FOLDER}/../../000284.pickle.pbz2", PACKED),
        ("points outside", f"{FOLDER}\\..\\000284.pickle.pbz2", PACKED),
        ("a link or a device", header(tarfile.SYMTYPE), b""),
        ("a link or a device", header(tarfile.LNKTYPE), b""),
        ("a link or a device", header(tarfile.CHRTYPE), b""),
        ("a link or a device", header(tarfile.BLKTYPE), b""),
        ("a link or a device", header(tarfile.FIFOTYPE), b""),
        ("more than 1048576", f"{FOLDER}/000284.pickle.pbz2", bytes(nats_files.MAX_PACKED + 1)),
        ("not a bz2 file", f"{FOLDER}/000284.pickle.pbz2", b"x" * 100),
        ("expected index 285", f"{FOLDER}/000285.pickle.pbz2", PACKED),
    ],
)
def test_an_archive_with_something_else_is_refused(
    tmp_path: Path, said: str, member: tarfile.TarInfo | str, data: bytes
) -> None:
    path = write_tar(tmp_path / "x.tar", [(f"{FOLDER}/meta.pickle.pbz2", META), (member, data)])
    one_line(said, lambda: read(path), path)


def test_members_that_stand_twice_are_refused(tmp_path: Path) -> None:
    name = f"{FOLDER}/000284.pickle.pbz2"
    path = write_tar(tmp_path / "x.tar", [(name, PACKED), (name, PACKED)])
    one_line("stands twice", lambda: read(path), path)


def one_line(said: str, call: Callable[[], Any], path: Path | None = None) -> None:
    with pytest.raises(TableError) as caught:
        call()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert path is None or str(path) in str(caught.value)


def raw_header(kind: bytes, size: bytes, name: bytes = b"x") -> bytes:
    """A tar header with any size field."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = size.ljust(12, b"\0")
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    return bytes(block)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a long name of 4 GB", raw_header(b"L", b"40000000000")),
        ("an extended header of 4 GB", raw_header(b"x", b"40000000000")),
        ("a long name of negative size", raw_header(b"L", b"\xff" * 12)),
        ("a member of negative size", raw_header(b"0", b"\xff" * 11 + b"\0", b"000284.pickle.pbz2")),
        ("long names of long names", raw_header(b"L", b"0") * 5000),
        ("an endless sparse map", raw_header(b"S", b"0")),
    ],
)
def test_hostile_headers_take_neither_memory_nor_time(tmp_path: Path, name: str, head: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(head + bytes(3 << 20))
    tracemalloc.start()
    try:
        one_line("", lambda: read(path), path)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


def test_an_archive_does_not_end_at_a_damaged_header(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "x.tar", [(f"{FOLDER}/meta.pickle.pbz2", META), (f"{FOLDER}/000284.pickle.pbz2", PACKED)]
    )
    data = bytearray(path.read_bytes())
    at = 512 + -(-len(META) // 512) * 512  # the second header
    data[at + 3] ^= 1
    path.write_bytes(data)
    one_line(f"damaged at byte {at}, after 1 files", lambda: read(path), path)


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 100_000])
def test_a_cut_archive_is_refused(tmp_path: Path, cut: int) -> None:
    path = write_tar(tmp_path / "x.tar", [(f"{FOLDER}/000284.pickle.pbz2", PACKED)])
    path.write_bytes(path.read_bytes()[:cut])
    one_line("", lambda: read(path), path)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    one_line("cannot be read", lambda: read(tmp_path / "none.tar"))
    one_line("holds no NATS-Bench files", lambda: read(tmp_path))
    packed_tar = tmp_path / "x.tar.gz"
    with tarfile.open(packed_tar, "w:gz") as archive:
        archive.addfile(header(), None)
    one_line("not an uncompressed .tar", lambda: read(packed_tar))
    folder = write_folder(tmp_path / "no-meta", {CELL: GOOD})
    (folder / "meta.pickle.pbz2").unlink()
    one_line("meta.pickle.pbz2 is missing", lambda: read(folder))
    path = write_tar(tmp_path / "x.tar", [(f"{FOLDER}/000284.pickle.pbz2", PACKED)])
    one_line("meta.pickle.pbz2 is missing", lambda: read(path))


@pytest.mark.parametrize(
    ("said", "data"),
    [
        ("unpacks to more than", bz2.compress(bytes(200 << 20), 9)),
        ("cut short", PACKED[:-20]),
        ("cut short", b""),
        ("bytes follow its end", PACKED + b"x"),
        ("bytes follow its end", PACKED + PACKED),
        ("not a bz2 file", b"PK" + PACKED),
        ("not a bz2 file", PACKED[:5000] + bytes(100) + PACKED[5100:]),
    ],
    ids=["a bomb of 200 MB", "cut", "empty", "one byte more", "two streams", "another format", "damaged"],
)
def test_unpacking_is_bounded(said: str, data: bytes) -> None:
    tracemalloc.start()
    try:
        one_line(said, lambda: inflate(Member(CELL, "f", data)))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_code_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {mark}",)

    for content in (packed({"200": Evil()}), packed(Evil())):
        folder = write_folder(tmp_path / "evil", {CELL: content})
        one_line("posix.system, which is not on the allow-list", lambda folder=folder: read(folder))  # type: ignore[misc]
    (folder / "meta.pickle.pbz2").write_bytes(packed(Evil()))
    one_line("which is not on the allow-list", lambda: read(folder))
    assert not mark.exists()
    pickle.loads(bz2.decompress(packed(Evil())))  # noqa: S301  (it does run in the ordinary unpickler)
    assert mark.exists()


@pytest.mark.parametrize(
    ("said", "content"),
    [
        ("lists no architectures", {"meta_archs": None}),
        ("lists no architectures", [1]),
        ("lists 2 architectures, expected 15625; is this the topology", {"meta_archs": ["64:64", "8:8"]}),
        ("architecture 0 is 'x'", {**meta(), "meta_archs": ["x"] * SPACE.size}),
        ("architecture 1 is", {**meta(), "meta_archs": [SPACE.strings[0]] * SPACE.size}),
    ],
)
def test_another_list_of_architectures_is_refused(tmp_path: Path, said: str, content: object) -> None:
    folder = write_folder(tmp_path, {CELL: GOOD})
    (folder / "meta.pickle.pbz2").write_bytes(packed(content))
    one_line(said, lambda: read(folder), folder)


def edited(*path: Any, value: Any) -> Any:
    """A good architecture with one thing changed (`...` deletes it)."""
    out = pickle.loads(pickle.dumps(GOOD))  # noqa: S301  (our own)
    at = out
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return out


RUN = ("200", "all_results", ("cifar100", 888))


@pytest.mark.parametrize(
    ("said", "content"),
    [
        ("not the results of an architecture", {}),
        ("results is int, expected a dictionary", {"200": 7}),
        ("says it is architecture 285, expected index 284", edited("200", "arch_index", value=285)),
        ("says it is architecture 'x'", edited("12", "arch_index", value="x")),
        ("says it is architecture a list", edited("12", "arch_index", value=[[[]]])),
        ("is this the topology search space?", edited("200", "arch_str", value="8:8:8:8:8")),
        ("was trained on 'cifar11'", edited("200", "dataset_seed", "cifar11", value=[1])),
        ("not a list of different numbers", edited("200", "dataset_seed", "cifar10", value=[777, 777])),
        ("not a list of different numbers", edited("200", "dataset_seed", "cifar10", value="777")),
        ("no run on cifar10 with seed 7", edited("200", "dataset_seed", "cifar10", value=[7])),
        ("all_results is list", edited("200", "all_results", value=[])),
        ("200 epochs stands under '90'", {"90": GOOD["200"]}),
        ("200 epochs stands under a tuple", {(1,): GOOD["200"]}),
        ("'x' is not a number in 1..1000", edited(*RUN, "epochs", value="x")),
        ("a huge number is not a number in 1..1000", edited(*RUN, "epochs", value=10**400)),
        ("train_acc1es: 199 epochs instead of 200", edited(*RUN, "train_acc1es", 7, value=...)),
        ("train_losses is NoneType, expected a dictionary", edited(*RUN, "train_losses", value=None)),
        ("train_acc1es: 100.5 is outside 0..100", edited(*RUN, "train_acc1es", 7, value=100.5)),
        ("train_acc1es: nan is outside 0..100", edited(*RUN, "train_acc1es", 7, value=float("nan"))),
        ("train_acc1es: not all are numbers", edited(*RUN, "train_acc1es", 7, value="90")),
        ("train_acc1es: not all are numbers", edited(*RUN, "train_acc1es", 7, value=[1.0])),
        ("train_acc1es: not all are numbers", edited(*RUN, "train_acc1es", 7, value=10**400)),
        ("train_losses: -1.0 is outside 0..inf", edited(*RUN, "train_losses", 7, value=-1.0)),
        ("train_times: nan is outside", edited(*RUN, "train_times", 7, value=float("nan"))),
        ("eval_acc1es: 'ori-test@7' is missing", edited(*RUN, "eval_acc1es", "ori-test@7", value=...)),
        ("eval_acc1es: 'x-valid@7' belongs neither", edited(*RUN, "eval_acc1es", "x-valid@7", value=1.0)),
        ("eval_losses: 'valid@0' belongs neither", edited(*RUN, "eval_losses", "valid@0", value=1.0)),
        ("eval_losses: 7 belongs neither", edited(*RUN, "eval_losses", 7, value=1.0)),
        ("params: not all are numbers", edited(*RUN, "params", value="many")),
        ("latency: not all are numbers", edited(*RUN, "latency", value=0.01)),
        ("latency: -1.0 is outside", edited(*RUN, "latency", value=[-1.0])),
    ],
)
def test_wrong_contents_are_refused_by_name(tmp_path: Path, said: str, content: object) -> None:
    folder = write_folder(tmp_path, {CELL: content})
    one_line(said, lambda: read(folder), folder / "000284.pickle.pbz2")


def test_what_a_file_may_leave_out() -> None:
    content = edited(*RUN, "train_times", value=None)["200"]
    run = content["all_results"]["cifar100", 888]
    run.update(eval_times={}, latency=None, params=None, train_losses=dict.fromkeys(range(200), float("nan")))
    _, runs = read_runs(content, cell=CELL, space=SPACE, where="f")
    (found,) = [r for r in runs if (r.dataset, r.seed) == ("cifar100", 888)]
    assert list(found.facts) == [("network", "flops_m")]
    assert np.isnan(found.curves["train", "loss"]).all()


def test_times_that_differ_between_epochs_are_kept_as_they_are() -> None:
    content = edited(*RUN, "train_times", 7, value=99.5)["200"]
    _, runs = read_runs(content, cell=CELL, space=SPACE, where="f")
    (found,) = [r for r in runs if (r.dataset, r.seed) == ("cifar100", 888)]
    curve = found.curves["train", "seconds"]
    assert curve[7] == 99.5
    assert len(set(curve.tolist())) == 2
    assert found.facts["train", "seconds"] == pytest.approx(curve.mean())


RAW = pickle.dumps(GOOD, 4)
PLAIN = nats_files.read_pickle(RAW, what="f", cap=len(RAW), allowed=nats_files.NATS_BENCH)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(RAW) - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_pickle_is_refused_or_says_something_else(at: int, patch: bytes) -> None:
    data = RAW[:at] + patch + RAW[at + len(patch) :]
    try:
        content = nats_files.read_pickle(data, what="f", cap=len(data), allowed=nats_files.NATS_BENCH)
        nats_files._architecture(content, CELL, SPACE, "f")
    except TableError as error:
        assert "\n" not in str(error)


def test_the_allow_list_has_no_more_than_the_files_need() -> None:
    assert {name for _, name in nats_files.NATS_BENCH} == {"OrderedDict", "scalar", "dtype"}
    assert PLAIN["200"]["all_results"]["cifar10", 777]["params"] == GOOD["200"]["all_results"]["cifar10", 777]["params"]
    data = pickle.dumps({"a": np.float32(1.0)}, 4).replace(b"\x8c\x02f4", b"\x8c\x02f8")  # four bytes, said to be eight
    with pytest.raises(TableError, match="only float64 scalars"):
        nats_files.read_pickle(data, what="f", cap=1000, allowed=nats_files.NATS_BENCH)
