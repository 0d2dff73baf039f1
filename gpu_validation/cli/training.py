"""`gpu-validation train`: networks of single cells, trained alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gpu_validation.cli.options import (
    Data,
    DataFolder,
    Device,
    Threads,
    limit_threads,
    need_torch,
    number_or_text,
    open_data,
)
from nasbench_sim.cli.console import (
    Json,
    check_folder_options,
    console,
    print_json,
    progress_bar,
    seed_list,
    settings,
)
from nasbench_sim.errors import ArchError, RunError, SpecError
from nasbench_sim.spaces import Space
from nasbench_sim.tables.manifest import cached_space

MOST_BYTES = 2_000_000  # of a list of cells: the strings of all 15,625 have 1.3 million


def train(
    archs: Annotated[
        list[str] | None,
        typer.Argument(help="Cells of NAS-Bench-201, as strings or official indices.", show_default=False),
    ] = None,
    pool: Annotated[
        str,
        typer.Option(help="Instead: a file with a cell a line, or a number of uniform cells, always the same ones."),
    ] = "",
    all_: Annotated[
        bool, typer.Option("--all", help="Instead: one cell of each of the 6,466 classes, many at once; see the docs.")
    ] = False,
    deep: Annotated[
        int, typer.Option(help="With --all: nine further seeds of so many best classes, for deep ensembles of ten.")
    ] = 0,
    data: Data = "digits",
    data_folder: DataFolder = None,
    protocol: Annotated[str, typer.Option(help="table (200 epochs, as the tables were made) or short.")] = "short",
    epochs: Annotated[int | None, typer.Option(help="Epochs; default: the protocol's.")] = None,
    seed: Annotated[int | None, typer.Option(help="The training seed; default: 0.")] = None,
    seeds: Annotated[
        str, typer.Option(help="Or several for each cell: a number of them (3), a range (0:3) or a list (1,5).")
    ] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A number of the protocol, name=value (batch=128); repeatable.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the result, checkpoints and prediction files.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in --out; finished networks are kept.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Train cells alone; keep curves, and predictions that `nasbench-sim ensemble` opens."""
    need_torch()
    check_folder_options(out, resume=resume, overwrite=overwrite)
    from gpu_validation.training import make_train_spec, train_pool
    from gpu_validation.training.pool import check_folder, clear

    if all_:
        if archs or pool or seeds or seed is not None or overwrite:
            raise SpecError(
                "--all trains every class with seeds of its own; leave cells, --seed(s) and --overwrite away"
            )
        numbers = _numbers(set_ or [], epochs)
        _train_all(data, data_folder, protocol, numbers, deep, device, threads, out, resume, as_json)
        return
    if deep:
        raise SpecError("--deep chooses among all classes and needs --all; --seeds trains these cells several times")
    if out is not None:
        check_folder(out, resume=resume, overwrite=overwrite)
    cells = _cells(archs or [], pool)
    numbers = _numbers(set_ or [], epochs)
    specs = [
        make_train_spec(**{**numbers, "protocol": protocol, "arch": cell, "dataset": data, "seed": number})
        for cell in cells
        for number in _seeds(seed, seeds)
    ]
    limit_threads(threads)
    dataset = open_data(data, data_folder, device)
    if overwrite and out is not None:
        clear(out)
    with progress_bar(not as_json) as (tick, say):

        def on_tick(member: int, done: int, last: Mapping[str, float]) -> None:
            before = sum(spec.epochs for spec in specs[:member])
            tick([(before + done, sum(spec.epochs for spec in specs))])
            if not as_json and (done == specs[member].epochs or len(specs) == 1):
                accuracy = ", ".join(f"{split} {last[f'{split}_accuracy']:.2f}" for split in ("train", "valid", "test"))
                say(f"{specs[member].arch} seed {specs[member].seed}, epoch {done}: {accuracy} %")

        made = train_pool(specs, dataset, device=device, folder=out, resume=resume, on_tick=on_tick)
    files = {} if out is None else {what: str(path) for what, path in made.save(out).items()}
    if as_json:
        document = made.document()
        for member in document["members"]:
            del member["curves"]
        print_json({**document, "files": files})
        return
    for line in made.failed:
        console().print(f"Left out, it diverged: {line}")
    for what, where in files.items():
        console().print(f"{what}: {where}")
    if not files:
        console().print("Nothing was kept: give --out FOLDER for curves, checkpoints and predictions.")


def _train_all(
    data: str,
    data_folder: Path | None,
    protocol: str,
    numbers: dict[str, Any],
    deep: int,
    device: str,
    threads: int,
    out: Path | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Every class of cells into `out`, then the table and the predictions."""
    from gpu_validation.stacks.run import SPLITS, make_predictions, make_table, train_all
    from gpu_validation.training import make_train_spec
    from nasbench_sim.tables.store import write_table

    if out is None or device != "cpu":
        raise SpecError("--all needs --out FOLDER, and trains on the CPU")
    if out.exists() and not (out.is_dir() and (resume or not any(out.iterdir()))):
        raise RunError(f"{out} is not empty; continue it with --resume, or choose another folder")
    spec = make_train_spec(**{**numbers, "protocol": protocol, "arch": "all", "dataset": data})
    limit_threads(threads)
    dataset = open_data(data, data_folder, device)
    with progress_bar(not as_json) as (tick, _):
        whole = train_all(spec, dataset, out, deep=deep, on_stack=lambda done, total, _: tick([(done, total)]))
    files: dict[str, str] = {}
    if whole:
        write_table(make_table(spec, dataset, out, out.name), out / "table.h5")
        for split in SPLITS:
            make_predictions(spec, dataset, out, split, deep=deep).save(out / f"predictions-{split}.h5")
        files = {name: str(out / f"{name}.h5") for name in ("table", *(f"predictions-{split}" for split in SPLITS))}
    if as_json:
        print_json({"finished": whole, "files": files})
        return
    for what, where in files.items():
        console().print(f"{what}: {where}")
    if not whole:
        console().print("Another process is at the last stacks; the one that ends last writes the table (--resume).")


def _numbers(pairs: list[str], epochs: int | None) -> dict[str, Any]:
    """The numbers of the protocol that are replaced; raises `SpecError` for what has an option of its own."""
    out = settings(pairs, "--set")
    taken = sorted({"arch", "dataset", "seed", "protocol"} & set(out))
    if taken:
        raise SpecError(f"--set {taken[0]} is not a number of the protocol; there is an option for it")
    if epochs is not None:
        if "epochs" in out:
            raise SpecError("the epochs are given twice, as --epochs and with --set")
        out["epochs"] = epochs
    return out


def _seeds(seed: int | None, seeds: str) -> tuple[int, ...]:
    """Training seeds; raises `SpecError` for both options, for none at all and for one twice.

    >>> _seeds(None, ""), _seeds(7, ""), _seeds(None, "2"), _seeds(None, "1,5")
    ((0,), (7,), (0, 1), (1, 5))
    """
    if seed is not None and seeds:
        raise SpecError("--seed is one training seed and --seeds several; give one of the two")
    if not seeds:
        return (seed or 0,)
    listed = seed_list(seeds)
    many = tuple(range(listed)) if isinstance(listed, int) else listed
    if not many or len(set(many)) < len(many):
        raise SpecError(f"--seeds {seeds}: give at least one, each once")
    return many


def _cells(archs: list[str], pool: str) -> list[str]:
    """Strings of the asked cells; raises `ArchError` for what is none, `SpecError` where nothing or both are asked."""
    space = cached_space("nb201")
    if bool(archs) == bool(pool):
        raise SpecError("give cells to train, or --pool with a number of them or a file, one of the two")
    many = number_or_text(pool)
    if isinstance(many, int):
        if not 1 <= many <= space.size:
            raise SpecError(f"--pool is 1 to {space.size} cells, got {pool}")
        random = np.random.Generator(np.random.Philox(key=201))
        index = random.permutation(space.size)[:many].tolist()  # a larger pool has the smaller one in it
    elif pool:
        index = _listed(space, Path(pool))
    else:
        index = [_index(space, text) for text in archs]
    twice = next((i for i, n in Counter(index).items() if n > 1), None)
    if twice is not None:
        raise SpecError(f"cell {twice} is given twice; --seeds trains a cell several times")
    return [space.format(space.at(i)) for i in index]


def _index(space: Space, text: str) -> int:
    try:
        return space.resolve(number_or_text(text))
    except ArchError as error:
        raise ArchError(f"{error} (cells of NAS-Bench-201 are trained: a string or 0..{space.size - 1})") from error


def _listed(space: Space, path: Path) -> list[int]:
    """Indices of the cells in a file, one a line, `#` before a remark; raises `SpecError` and `ArchError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise SpecError(f"--pool {path} is no number, and no file that can be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"--pool {path} is no text; list a cell a line") from error
    if len(data) > MOST_BYTES:
        raise SpecError(f"--pool {path} is larger than {MOST_BYTES} bytes; list a cell a line")
    out = []
    for number, line in enumerate(text.splitlines(), 1):
        cell = line.split("#")[0].strip()
        try:
            out += [_index(space, cell)] if cell else []
        except ArchError as error:
            raise ArchError(f"{path}, line {number}: {error}") from error
    if not out:
        raise SpecError(f"--pool {path} lists no cell; list one a line")
    return out
