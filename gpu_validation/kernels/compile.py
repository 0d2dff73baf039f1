"""Machine code of every kernel without a GPU: registers, spills, shared memory, and the width of loads and stores.

Triton compiles ahead of time for a named architecture; `cuobjdump`, which Triton brings, reads the registers off the
result and the PTX shows how memory is reached. A thread that reads 16 bytes at once needs an eighth of the load
instructions of one that reads 16-bit numbers; Triton only does so when it can prove the alignment, and says nothing
when it cannot. So it is read off here, and tested.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gpu_validation.contracts import BN_EPS
from gpu_validation.kernels.backward import convolutions_kernel, sums_kernel
from gpu_validation.kernels.choice import (
    choice_convolutions_kernel,
    choice_kernel,
    choice_source_kernel,
    choice_sums_kernel,
)
from gpu_validation.kernels.node import node_kernel
from gpu_validation.kernels.shapes import blocks
from gpu_validation.kernels.source import SOURCE_OPTIONS, source_kernel
from gpu_validation.kernels.statistics import MERGED, merge_kernel, statistics_kernel
from gpu_validation.kernels.tiles import OPTIONS, interpreted
from gpu_validation.kernels.update import ADAM, BLOCK_S, PLAIN, VADAM, update_kernel
from nasbench_sim.errors import SpecError

#: A100; H100 and H200; B200
ARCHITECTURES = (80, 90, 100)
DTYPES = ("fp16", "bf16", "fp32")
_INTEGERS = frozenset({"layout", "on", "pixels", "tiles", "each", "programs", "searches"})
_TABLES = frozenset({"partial", "mean", "rstd", "var", "gates", "sums"})
_CLOCKS = frozenset({"hyper", "power1", "power2", "new_power1", "new_power2"})
_ACCESS = re.compile(r"\b(ld|st)\.global(?:\.\w+|::\w+)*?(?:\.v(\d+))?\.[bufs](\d+)\b")


class Job(NamedTuple):
    """A kernel and the constants to compile it with."""

    name: str
    kernel: Any
    constants: Mapping[str, Any]


def jobs(channels: int, side: int, *, sources: Sequence[int] = (3,)) -> Iterator[Job]:
    """Every kernel, for maps of `channels` channels and `side` x `side` pixels; nodes with these numbers of inputs."""
    block_p, block_c = blocks(channels)
    tile = {"C": channels, "BLOCK_P": block_p, "BLOCK_C": block_c, "ACC": tl.float32}
    image = {"H": side, "W": side}
    merge = {"C": channels, "EPS": BN_EPS, "BLOCK_C": block_c, "MERGED": MERGED, "ACC": tl.float32}
    yield Job("statistics, merge", merge_kernel, merge)
    for n in sources:
        yield Job(f"statistics, {n} inputs", statistics_kernel, {**tile, "SOURCES": n})
        yield Job(f"node, {n} inputs", node_kernel, {**tile, **image, "SOURCES": n})
        yield Job(f"backward sums, {n} inputs", sums_kernel, {**tile, "SOURCES": n})
        yield Job(f"backward convolutions, {n} inputs", convolutions_kernel, {**tile, "SOURCES": n, "TRAINING": True})
        yield Job(f"backward source, {n} targets", source_kernel, {**tile, **image, "SOURCE": 3 - n})
    yield Job("choice", choice_kernel, {**tile, **image})
    yield Job("choice backward sums", choice_sums_kernel, tile)
    yield Job("choice backward convolutions", choice_convolutions_kernel, {**tile, "TRAINING": True})
    yield Job("choice backward source", choice_source_kernel, {**tile, **image})
    numbers = {"N": 30, "WIDE": False, "BLOCK_S": BLOCK_S, "BLOCK_N": 32}
    for name, kind in (("Adam", ADAM), ("VAdam", VADAM), ("VAdam, plain", PLAIN)):
        yield Job(f"stacked {name}", update_kernel, {**numbers, "KIND": kind})


def accesses(ptx: str) -> dict[str, int]:
    """Global memory instructions of a PTX text by direction and bytes a thread.

    >>> accesses("ld.global.v4.b32 {%r1,%r2,%r3,%r4}, [%rd1]; st.global.b16 [%rd2], %rs1;")
    {'ld16': 1, 'st2': 1}
    """
    out: dict[str, int] = {}
    for way, lanes, bits in _ACCESS.findall(ptx):
        key = f"{way}{int(lanes or 1) * int(bits) // 8}"
        out[key] = out.get(key, 0) + 1
    return dict(sorted(out.items()))


def _signature(job: Job, dtype: str) -> tuple[dict[str, str], dict[tuple[int], list[list[Any]]]]:
    """Types of the arguments, and that every pointer is a multiple of 16 (all that PyTorch allocates are)."""
    types, aligned = {}, {}
    for place, name in enumerate(job.kernel.arg_names):
        if name in job.constants:
            types[name] = "constexpr"
        elif name in _INTEGERS:
            types[name] = "i32"
        else:
            stacked = job.kernel is update_kernel
            kind = "fp64" if name in _CLOCKS else "u8" if name == "chosen" else dtype
            types[name] = "*" + ("fp32" if name in _TABLES or (stacked and kind == dtype) else kind)
            aligned[(place,)] = [["tt.divisibility", 16]]
    return types, aligned


def _resources(cubin: bytes) -> dict[str, int]:
    """Registers a thread, bytes of stack a thread (which are spills: no kernel has local arrays), shared memory."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        done = subprocess.run([tool, "--dump-resource-usage", file], capture_output=True, text=True, check=True)
    found = dict(re.findall(r"\b(REG|STACK|LOCAL):(\d+)", done.stdout))
    return {"registers": int(found["REG"]), "spilled_bytes": int(found["STACK"]) + int(found["LOCAL"])}


def compiled(job: Job, architecture: int, dtype: str) -> dict[str, Any]:
    """One kernel's machine code, as numbers."""
    types, aligned = _signature(job, dtype)
    source = ASTSource(job.kernel, types, dict(job.constants), aligned)
    options: dict[str, Any] = dict(SOURCE_OPTIONS if job.kernel is source_kernel else OPTIONS)
    if job.kernel is update_kernel:
        options = {"enable_fp_fusion": False}
    done = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    return {
        "kernel": job.name,
        "dtype": dtype,
        "architecture": f"sm_{architecture}",
        **_resources(done.asm["cubin"]),
        "shared_bytes": int(done.metadata.shared),
        "cubin_bytes": len(done.asm["cubin"]),
        "accesses": accesses(done.asm["ptx"]),
    }


def report(
    architectures: Sequence[int] = ARCHITECTURES,
    dtypes: Sequence[str] = ("bf16", "fp32"),
    *,
    channels: int = 16,
    side: int = 32,
    sources: Sequence[int] = (3,),
    only: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Every kernel compiled for every architecture and precision: plain data, one row each, about a second a row.

    `only`: the kernels whose names start with one of these.

    Columns: kernel, dtype, architecture, registers (a thread), spilled_bytes (a thread), shared_bytes (a block),
    cubin_bytes, accesses (instructions by direction and bytes a thread: `ld16`, `st4`, ...). The stacked updates are
    float32 whatever the precision, and appear once an architecture. SpecError where Triton interprets.
    """
    if interpreted():
        raise SpecError("TRITON_INTERPRET is on: nothing is compiled while kernels are interpreted; unset it")
    wrong = sorted(set(dtypes) - set(DTYPES))
    if wrong:
        raise SpecError(f"unknown precision {', '.join(wrong)}. Known: {', '.join(DTYPES)}")
    rows = []
    for architecture in architectures:
        for dtype in dtypes:
            for job in jobs(channels, side, sources=sources):
                if job.kernel is update_kernel and dtype != dtypes[-1]:
                    continue
                if only is not None and not job.name.startswith(tuple(only)):
                    continue
                rows.append(compiled(job, architecture, "fp32" if job.kernel is update_kernel else dtype))
    return rows
