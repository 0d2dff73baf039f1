"""Unknown names and impossible values: exit code 2, one line that says what, where and how to mend it, no file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.helpers import COLUMN, KEY, QUICK, refused, run_process

SEARCH = ("search", "darts", *QUICK, "--out", "run")


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ("0", "a number of seeds is at least 1, got 0"),
        ("-1", "a number of seeds is at least 1, got -1"),
        ("x", "--seeds 'x': give a number (200), a range (0:200) or a list (1,2,5)"),
        ("", "--seeds ''"),
        ("1.5", "--seeds '1.5'"),
        ("1e9", "--seeds '1e9'"),
        (":", "--seeds ':'"),
        ("5:", "--seeds '5:'"),
        ("1:2:3", "--seeds '1:2:3'"),
        ("1,,2", "--seeds '1,,2'"),
        ("5:2", "at least one seed"),
        ("3:3", "at least one seed"),
        ("1,1", "seeds are repeated"),
        ("-5:-2", "seeds are integers in 0 .."),
        ("1,-2", "seeds are integers in 0 .."),
        ("9223372036854775808,1", "seeds are integers in 0 .."),
        ("0:99999999999", "at most 1000000 seeds a run"),
        ("1000001", "at most 1000000 seeds a run"),
        ("9" * 5000, "--seeds '999"),
    ],
)
def test_impossible_seeds(seeds: str, said: str) -> None:
    error = refused(*SEARCH, "--seeds", seeds, said=said)
    assert "Value error" not in error  # words of a library that a user has never heard of


@pytest.mark.parametrize("option", ["--epochs", "--steps-per-epoch", "--workers"])
@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "", "1e3"])
def test_impossible_counts(option: str, value: str) -> None:
    name = option.removeprefix("--").replace("-", "_") if value in ("0", "-1") else option
    refused(*SEARCH, "--seeds", "2", option, value, said=name)


@pytest.mark.parametrize("option", ["--epochs", "--steps-per-epoch"])
def test_more_steps_than_anyone_has(option: str) -> None:
    refused(*SEARCH, "--seeds", "2", option, str(10**12), said="less than or equal to")
    sizes = ("--seeds", "1000000", "--epochs", "100000", "--steps-per-epoch", "391")
    refused("search", "darts", *sizes, said="seeds x epochs x steps_per_epoch exceeds")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--table", "nb202"), "unknown table 'nb202'; did you mean 'nb201'? Known: nb201-analog, nb201-mini, nb201"),
        (("--table", "nb201"), "tables fetch nb201"),
        (("--table", "absent.h5"), "absent.h5: cannot be read (No such file or directory)"),
        (("--table", "."), "unknown table '.'"),
        (("--table", "./"), "is a folder"),
        (("--table", "../../etc/passwd"), "etc/passwd: cannot be read"),
        (("--dataset", "cifar11"), "unknown data set 'cifar11'; did you mean 'cifar10'? Known: cifar10"),
        (("--landscape", "moon"), "landscape: Input should be 'tabular', 'shared', 'evaluations' or 'supernet'"),
        (("--dtype", "float16"), "dtype: Input should be 'float32' or 'float64'"),
        (("--set", "lrr=1"), "unknown parameter 'lrr'; did you mean 'lr'?"),
        (("--set", "lr"), "--set 'lr': write --set name=value"),
        (("--set", "=1"), "--set '=1': write --set name=value"),
        (("--set", "lr=1", "--set", "lr=2"), "--set lr is given twice"),
        (("--set", "lr=fast"), "lr: Input should be a valid number"),
        (("--set", "lr="), "lr: Input should be a valid number"),
        (("--set", "lr=true"), "lr is True; give a finite number"),
        (("--set", "lr=NaN"), "lr is nan; give a finite number"),
        (("--set", "lr=1e999"), "lr is inf; give a finite number"),
        (("--set", "lr=" + "[" * 100_000), "lr: Input should be a valid number"),
        (("--set", "lr=" + "9" * 5000), "lr must be a positive number"),
        (("--set", "betas=[0.9]"), "betas"),
        (("--set", "betas=[0.9, 2]"), "betas"),
        (("--landscape-set", "noise"), "write --landscape-set name=value"),
        (("--landscape-set", "nois=1"), "has no parameter nois"),
        (("--landscape-set", "noise=loud"), "noise: Input should be a valid number"),
        (("--landscape-set", "noise=-1"), "noise"),
        (("--landscape-set", "noise=NaN"), "noise"),
        (("--landscape", "tabular", "--landscape-set", "noise=1"), "the tabular landscape has no parameters"),
        (("--resume", "--overwrite"), "--resume continues a run and --overwrite replaces it; give one of them"),
        (("--resume",), "run holds no unfinished run to resume; leave --resume away to start one"),
    ],
)
def test_unknown_names_and_values(options: tuple[str, ...], said: str) -> None:
    refused(*SEARCH, "--seeds", "2", *options, said=said)


@pytest.mark.parametrize("name", ["dart", "", "DARTS", "darts ", "../darts"])
def test_unknown_methods(name: str) -> None:
    refused("search", name, "--seeds", "2", *QUICK, said=f"unknown method {name!r}")
    refused("methods", "show", name, said=f"unknown method {name!r}")
    refused("reproduce", "--method", name, "--seeds", "2", *QUICK, said=f"unknown method {name!r}")


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
def test_options_about_a_folder_need_one(option: str) -> None:
    refused("search", "darts", "--seeds", "2", *QUICK, option, said=f"{option} needs --out, the folder to ")


CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|{}|"


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("", "bad architecture string at position 0"),
        ("||||", "at position 0: expected '|operation~0'"),
        (CELL.format("nor_conv_3x3~3"), "at position 93: expected input node 2 of node 3"),
        (CELL.format("nor_conv_5x5~2"), "nor_conv_5x5"),
        (CELL.format("nor_conv_3x3~2")[:-1], "at position 94"),
        (CELL.format("nor_conv_3x3~2") + "|", "at position 95"),
        ("\u00b2", "bad architecture string at position 0"),
        ("\u0663", "bad architecture string at position 0"),
        ("15625", "an index of nb201 is an integer in 0..15624, got 15625"),
        ("9" * 30, "bad architecture string at position 0"),
        ("9" * 5000, "bad architecture string at position 0"),
        ("\x1b[2J\n\x00", "bad architecture string at position 0"),
    ],
)
def test_malformed_architectures_show_the_position(arch: str, said: str) -> None:
    refused("query", arch, *KEY, said=said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--dataset", "svhn"), "unknown data set 'svhn'. Known: cifar10"),
        (("--split", "valid"), "unknown split 'valid'. Known: baseline (for data set cifar10)"),
        (("--epochs", "200"), "unknown epochs '200'. Known: unstated"),
        (("--epochs", "-5"), "unknown epochs '-5'"),
        (("--seed", "777"), "unknown seed '777'. Known: single"),
        (("--seed", ""), "unknown seed ''"),
        (("--table", "nb20"), "unknown table 'nb20'"),
    ],
)
def test_a_key_that_was_not_measured_says_what_was(change: tuple[str, str], said: str) -> None:
    refused("query", "1", *KEY, *change, said=said)


def test_no_part_of_the_key_has_a_default() -> None:
    refused("query", "1", *COLUMN, said="Missing option '--seed'")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plot", "finall", "R", "--out", "x.svg"), "unknown figure 'finall'; did you mean 'final'?"),
        (("plot", "final", "R", "--out", "x.bmp"), "unknown figure format 'bmp'. Known: svg, png, pdf"),
        (("plot", "final", "R", "--out", "x"), "unknown figure format 'x'"),
        (("plot", "final", "R", "--out", "."), "unknown figure format"),
        (("plot", "final", "R", "--out", "/proc/x.svg"), "cannot write /proc/x.svg"),
        (("report", "R", "--out", "x.txt"), "--out 'x.txt': give a file that ends in .html"),
        (("report", "R", "--out", "R/darts/run.json"), "give a file that ends in .html"),
        (("report", "R", "--out", "/proc/x.html"), "cannot write /proc/x.html"),
        (("report", "R", "--out", "folder.html"), "cannot write folder.html: Is a directory"),
        (("compare", "absent"), "absent holds no finished run"),
        (("compare", "folder.html"), "folder.html holds no finished run (no run.json); give the folder of a run"),
        (("compare", "file"), "file holds no finished run"),
        (("report", "folder.html", "--out", "x.html"), "holds no finished run"),
        (("plot", "final", "absent", "--out", "x.svg"), "holds no finished run"),
    ],
)
def test_looking_at_what_is_not_there(finished: Path, arguments: tuple[str, ...], said: str) -> None:
    Path("folder.html").mkdir()
    Path("file").write_text("precious")
    Path("R").symlink_to(finished)
    refused(*arguments, said=said)


GARBAGE = [b"\xff\xfe\x80", b"\x1b[2J", b"-\xff", b"a\nb\rc", "\u202e\U0001f600".encode(), b"{}[]%s%n", b"A" * 100_000]


@pytest.mark.parametrize("word", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_as_arguments(word: bytes, finished: Path) -> None:
    text = word.decode("utf-8", "surrogateescape")  # what Python makes of such an argument
    for arguments in (
        (text,),
        ("search", text),
        ("search", "darts", "--set", f"{text}={text}"),
        ("search", "darts", "--seeds", text),
        ("search", "darts", "--table", text),
        ("search", "darts", "--dataset", text),
        ("tables", "info", text),
        ("tables", "export", "nb201-analog", text),
        ("methods", "show", text),
        ("query", text, *KEY),
        ("plot", text, finished, "--out", "x.svg"),
        ("compare", text),
    ):
        refused(*arguments, said="")


def test_odd_names_that_are_allowed() -> None:
    """A folder may be called anything: the call works, whatever the terminal can show."""
    odd = b"r\xff\x1b"
    said = run_process("search", "darts", "--seeds", "2", *QUICK, "--out", odd)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1].startswith("Record: r\\udcff")
    assert run_process("report", odd, "--title", b"t\xff\x1b[2J", "--out", "page.html").code == 0
    assert "\x1b" not in Path("page.html").read_text(encoding="utf-8")


def test_binary_garbage_through_the_operating_system() -> None:
    result = run_process("search", b"\xff\xfe\x1b[2J")
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("nasbench-sim: unknown method '\\udcff\\udcfe\\x1b[2J'. Known: balenas, ")
    assert result.err.count("\n") == 1
