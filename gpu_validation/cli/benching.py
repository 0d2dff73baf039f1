"""`gpu-validation bench`: how fast this machine makes a supernet's step, or what the kernels have to move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from gpu_validation.bench import BenchOptions
from gpu_validation.cli.options import Device, need_torch
from nasbench_sim.cli.console import Json, console, print_json
from nasbench_sim.errors import RunError, SpecError


def bench(
    device: Device = "cpu",
    channels: Annotated[int, typer.Option(help="Channels C of the first stage.")] = 16,
    cells: Annotated[int, typer.Option(help="Cells N a stage.")] = 5,
    batch: Annotated[int, typer.Option(help="Images a mini-batch.")] = 64,
    side: Annotated[int, typer.Option(help="Pixels a side.")] = 32,
    repeats: Annotated[int, typer.Option(help="Interleaved repeats.")] = 7,
    threads: Annotated[
        int | None, typer.Option(help="Threads of torch on a CPU; default: as many as it takes.")
    ] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Also time torch.compile (minutes to compile).")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also say where the time goes, by kind of operation.")
    ] = False,
    model: Annotated[
        bool, typer.Option("--model", help="Measure nothing: count bytes and operations, eager, fused and least.")
    ] = False,
    resources: Annotated[
        bool, typer.Option("--resources", help="Compile every kernel ahead of time: registers, spills, loads.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for bench.json and bench.png.")] = None,
    as_json: Json = False,
) -> None:
    """Time whole bilevel steps of the NAS-Bench-201 supernet, backends in turn; no speed is told on a wrong result."""
    need_torch()
    if model and resources:
        raise SpecError("--model counts and --resources compiles; give one of them")
    if (model or resources) and out is not None:
        raise SpecError("--out keeps measurements; --model and --resources print theirs (with --json for machines)")
    if model:
        from gpu_validation.kernels.model_report import model_report

        checked = BenchOptions(channels=channels, cells=cells, batch=batch, side=side)
        document = model_report(channels=checked.channels, cells=checked.cells, batch=checked.batch, side=checked.side)
        print_json(document) if as_json else _show_model(document)
        return
    if resources:
        rows = _resources(channels, side)
        print_json(rows) if as_json else _show_resources(rows)
        return
    from gpu_validation.bench.report import run_bench

    sizes = {"channels": channels, "cells": cells, "batch": batch, "side": side, "repeats": repeats}
    options = BenchOptions(device=device, threads=threads, compile=compile_, profile=profile, out=out, **sizes)
    document = run_bench(options)
    if as_json:
        print_json(document)
    else:
        _show(document)
        if out is not None:
            console().print(f"written: {out / 'bench.json'}, {out / 'bench.png'}")
    if not document["results"]:
        raise RunError(f"results differ, so that no speed is told: {document.get('refused', document['gate'])}")


def _resources(channels: int, side: int) -> list[dict[str, Any]]:
    try:
        from gpu_validation.kernels.compile import report
    except ImportError as error:
        raise SpecError(f"kernels are compiled by triton, which is missing ({error}); pip install triton") from error
    return report(channels=channels, side=side)


def _show(document: Mapping[str, Any]) -> None:
    grid = Grid("candidate", "step, ms", "architecture", "weights", "speed against", box=None, header_style="bold")
    for name, found in document["results"].items():
        parts = [1e3 * found[key] for key in ("seconds", "seconds_architecture", "seconds_weights")]
        ratios = ", ".join(f"{r['median']:.2f}x {base}" for base, r in found.get("speedup", {}).items())
        grid.add_row(name, *(f"{part:.1f}" for part in parts), ratios)
    console().print(grid)


def _show_model(document: Mapping[str, Any]) -> None:
    grid = Grid("what", "eager, MB", "fused", "least", "fused / eager", box=None, header_style="bold")
    rows: Sequence[tuple[str, Mapping[str, Any]]] = [
        *((f"node of {row['inputs']} inputs, forward and backward", row) for row in document["nodes"]),
        ("forward and backward pass of the supernet", document["step"]),
    ]
    for name, row in rows:
        least = f"{row['floor_bytes'] / 1e6:.1f}" if "floor_bytes" in row else ""
        grid.add_row(
            name,
            f"{row['eager_bytes'] / 1e6:.1f}",
            f"{row['fused_bytes'] / 1e6:.1f}",
            least,
            f"{row['fused_to_eager']:.3f}",
        )
    console().print(grid)
    console().print(f"{document['step']['flops'] / 1e9:.1f} GFLOP a pass; one line a kernel with --json")


def _show_resources(rows: Sequence[Mapping[str, Any]]) -> None:
    names = ("kernel", "dtype", "architecture", "registers", "spilled_bytes", "shared_bytes")
    grid = Grid(*names, "wide loads and stores", box=None, header_style="bold")
    for row in rows:
        wide = sum(n for kind, n in row["accesses"].items() if kind.endswith(("16", "8")))
        total = sum(row["accesses"].values())
        grid.add_row(*(str(row[name]) for name in names), f"{wide} of {total}")
    console().print(grid)
