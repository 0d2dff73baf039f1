"""The fuzzer finds what it is for; every parser takes a few hundred mutants; what was found once stays mended.

`python -m tests.fuzz PARSER --inputs 100000 --seed 0` tries more.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nasbench_sim.errors import TableError, UserError
from tests.fuzz.__main__ import main  # also registers the targets
from tests.fuzz.mutate import longest, mutant, rng_of
from tests.fuzz.run import fuzz, name_of
from tests.fuzz.target import TARGETS, Target, written

CORPUS = Path(__file__).parent / "corpus"
FEW = 60
GOOD = b"a good file: 12345"


def refuses(data: bytes) -> None:
    if data != GOOD:
        raise TableError("not the good file")


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_few_mutants_of_every_kind_of_file(name: str) -> None:
    out = fuzz(TARGETS[name], FEW, seed=7, apart=False)
    assert out.inputs == FEW == out.read + out.refused
    assert out.findings == {}


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.name)
def test_what_was_found_once_is_refused_in_one_line(path: Path, tmp_path: Path) -> None:
    """PARSER-KIND-SHA256.bin, with PARSER among the targets; what each was, CORPUS/README.md says."""
    target = next(t for name, t in sorted(TARGETS.items(), reverse=True) if path.name.startswith(f"{name}-"))
    (tmp_path / "seeds").mkdir()
    target.seeds(tmp_path / "seeds")
    (tmp_path / "work").mkdir()
    with pytest.raises(UserError) as caught:
        target.parse(path.read_bytes(), tmp_path / "work")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 3000


def test_every_finding_kept_is_explained() -> None:
    text = (CORPUS / "README.md").read_text(encoding="utf-8")
    assert {p.name for p in CORPUS.glob("*.bin")} == {
        word.strip("`") for word in text.split() if word.endswith(".bin`")
    }


def crash(data: bytes, folder: Path) -> None:
    if data != GOOD:
        data[10**6]


def two_lines(data: bytes, folder: Path) -> None:
    if data != GOOD:
        raise TableError("two\nlines")


def hang(data: bytes, folder: Path) -> None:
    while data != GOOD:
        pass


def busy_in_c(data: bytes, folder: Path) -> None:
    """A library that lets no signal through until it is done."""
    if data != GOOD:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 16_000_000)


def memory(data: bytes, folder: Path) -> None:
    if data != GOOD:
        bytearray(3 << 30)


def remains(data: bytes, folder: Path) -> None:
    if data != GOOD:
        (folder / "home").mkdir()
        written(folder / "home", "half.h5", data)
        raise TableError("too late")


def death(data: bytes, folder: Path) -> None:
    if data != GOOD:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("parse", "kind", "inputs"),
    [
        (crash, "crash", 5),
        (two_lines, "crash", 5),
        (hang, "hang", 1),
        (busy_in_c, "hang", 1),
        (memory, "memory", 3),
        (remains, "remains", 5),
        (death, "death", 3),
    ],
)
def test_the_fuzzer_finds_it(parse: Callable[[bytes, Path], None], kind: str, inputs: int) -> None:
    out = fuzz(Target("bad", "a test", lambda _: [GOOD], parse), inputs, seed=0)
    assert out.inputs == inputs
    assert {found.kind for found in out.findings.values()} == {kind}
    for found in out.findings.values():
        assert found.data != GOOD and name_of(found).startswith(f"{kind}-")


def test_an_input_is_a_function_of_seed_and_number() -> None:
    pool, words = [GOOD, b"another one"], (b"word",)
    most = longest(pool)
    one = [mutant(pool, words, rng_of(3, n), most) for n in range(300)]
    assert one == [mutant(pool, words, rng_of(3, n), most) for n in range(300)]
    assert one != [mutant(pool, words, rng_of(4, n), most) for n in range(300)]
    assert len(set(one)) > 250 and max(map(len, one)) <= most


def test_a_fuzzer_without_good_files_says_so() -> None:
    with pytest.raises(AssertionError, match="a good file is not read"):
        fuzz(Target("bad", "a test", lambda _: [b"x"], lambda data, _: refuses(data)), 1, seed=0)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as `python -m tests.fuzz`, in this process."""

    def run(*args: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tests.fuzz", *args])
        return main()

    monkeypatch.setitem(TARGETS, "bad", Target("bad", "a test", lambda _: [GOOD], crash))
    kept = tmp_path / "kept"
    assert run("map", "protobuf", "--inputs", "100", "--keep", str(kept)) == 0
    said = capsys.readouterr().out
    assert said.count("100 inputs") == 2 and said.count("0 findings") == 2 and not kept.exists()
    assert run("bad", "--inputs", "3", "--keep", str(kept)) == 1
    assert "3 x crash: IndexError in test_fuzz.py:crash" in capsys.readouterr().out
    assert [path.name.startswith("bad-crash-") for path in kept.iterdir()] == [True]
    assert run("--list") == 0 and len(capsys.readouterr().out.splitlines()) == len(TARGETS)
    for wrong in (["nothing"], ["map", "--inputs", "0"], ["map", "--seed", "-1"]):
        with pytest.raises(SystemExit) as caught:
            run(*wrong)
        assert caught.value.code == 2
    assert "no parser 'nothing'; there are " in capsys.readouterr().err
