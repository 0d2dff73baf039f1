"""Options that several commands share: the data, the device, the network's settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasbench_sim.cli.console import settings
from nasbench_sim.errors import RunError, SpecError

if TYPE_CHECKING:
    from gpu_validation.data import Dataset
    from gpu_validation.settings import SupernetSettings

Data = Annotated[str, typer.Option(help="digits (no download), fashion-mnist, cifar10, cifar100, ImageNet16-120, ...")]
DataFolder = Annotated[Path | None, typer.Option(help="Folder of the data set's files.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:NUMBER.")]
Threads = Annotated[int, typer.Option(help="Threads that torch computes with; 0: as many as it likes.")]
Net = Annotated[
    list[str] | None,
    typer.Option("--net", help="A setting of the supernet, name=value (channels=4, cells=1, batch=64); repeatable."),
]


def need_torch() -> None:
    """Raise `SpecError` where torch is not installed: one line with the command that mends it."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise SpecError(f"this command needs torch ({error}); pip install 'nasbench-sim[gpu]'") from error


def number_or_text(text: str) -> int | str:
    """A whole number where it reads as one, else the text itself: for what has a string and an index.

    Above 19 digits it stays text, which no cell is (beyond 4,300 Python refuses to turn it into a number).

    >>> number_or_text("9930"), number_or_text("-1"), type(number_or_text("9" * 5000))
    (9930, '-1', <class 'str'>)
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else text


def limit_threads(threads: int) -> None:
    """Set the number of torch's threads; raises `SpecError` for a negative one."""
    import torch

    if threads < 0:
        raise SpecError(f"--threads is at least 0, got {threads}")
    if threads:
        torch.set_num_threads(threads)


def open_data(name: str, folder: Path | None, device: str) -> Dataset:
    """The data set on its device; raises `SpecError` for a device that is not here."""
    from gpu_validation.data import load_dataset
    from gpu_validation.devices import find_device

    find_device(device)
    return load_dataset(name, folder=folder, device=device)


def small_by_default(data: str) -> dict[str, Any]:
    """Settings that a data set suggests where nothing is asked for: 8x8 digits need no network of 17 blocks.

    >>> small_by_default("digits")["channels"], small_by_default("cifar10")
    (8, {})
    """
    return {"channels": 8, "cells": 1, "batch": 32} if data in ("digits", "synthetic") else {}


def net_settings(data: str, space: str, pairs: list[str] | None) -> SupernetSettings:
    """The supernet's settings from `--space` and `--net`; raises `SpecError` for unknown or impossible ones."""
    from gpu_validation.settings import make_settings

    return make_settings(**{**small_by_default(data), "space": space, **settings(pairs or [], "--net")})


def check_out(folder: Path | None, *, resume: bool, overwrite: bool) -> None:
    """Raise `RunError` for an output folder that holds something else, or a run that is not to be continued."""
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a folder")
    held = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    ours = {"run.json", "record.h5", "checkpoints", "recording.h5", "predictions-valid.h5", "predictions-test.h5"}
    if held and not overwrite and not resume:
        raise RunError(
            f"{folder} is not empty; continue it with --resume, replace it with --overwrite, or choose another"
        )
    if not set(held) <= ours:
        raise RunError(
            f"{folder} holds {', '.join(sorted(set(held) - ours)[:3])}, no run of ours; choose another folder"
        )
