"""What the doctor says a machine can run: a truth table over GPUs, triton, compilers and builds of torch."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_validation.abilities import (
    ABILITIES,
    abilities,
    backends,
    check_autocast,
    check_compile,
    check_distributed,
    check_kernels,
    cpu_features,
    find_compiler,
)

GPU = {"name": "H100", "capability": "9.0", "memory_bytes": 80 << 30}
OLD = {"name": "V100", "capability": "7.0", "memory_bytes": 16 << 30}


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    (tmp_path / "Python.h").touch()
    return tmp_path


def test_this_machine_is_told_the_truth() -> None:
    """The real torch answers every question that is asked of it (a renamed probe would leave a key out)."""
    torch = pytest.importorskip("torch")
    compiler = find_compiler({}, lambda name: f"bin/{name}")
    found = {f.part: f for f in abilities(torch, [], None, False, compiler, Path(sysconfig.get_paths()["include"]))}
    assert list(found) == list(ABILITIES)
    assert found["reference"].status == found["fused"].status == "ok"
    assert found["reference"].found["devices"] == ["cpu"]
    assert found["distributed"].found["gloo"] == torch.distributed.is_gloo_available()
    assert set(found["autocast"].found["cpu"]) == {"avx512_bf16", "amx"}


@pytest.mark.parametrize(
    ("triton", "gpu", "interpreted", "status", "runs"),
    [
        (None, False, False, "missing", "not"),
        (None, True, True, "missing", "not"),
        ("3.3", False, False, "limited", "not"),
        ("3.3", False, True, "limited", "interpreted"),
        ("3.3", True, True, "limited", "interpreted"),
        ("3.3", True, False, "ok", "compiled"),
    ],
)
def test_triton_kernels(triton: str | None, gpu: bool, interpreted: bool, status: str, runs: str) -> None:
    finding = check_kernels(triton, gpu, interpreted)
    assert (finding.status, finding.found["runs"]) == (status, runs)


def test_torch_compile(headers: Path, tmp_path: Path) -> None:
    assert check_compile("bin/g++", headers, False, None).status == "ok"
    assert check_compile("bin/g++", headers, True, "3.3").status == "ok"
    assert check_compile("bin/g++", headers, True, None).status == "limited"
    without = check_compile("bin/g++", tmp_path / "none", False, None)
    assert (without.status, without.mend) == ("limited", "apt-get install python3-dev")
    assert check_compile(None, headers, False, None).status == "missing"


def test_the_compiler_is_the_one_of_the_environment() -> None:
    tools = {"g++": "bin/g++", "clang++": "bin/clang++"}
    assert find_compiler({}, tools.get) == "bin/g++"
    assert find_compiler({"CXX": ""}, {"clang++": "bin/clang++"}.get) == "bin/clang++"
    assert find_compiler({"CXX": "icpx"}, tools.get) is None  # torch.compile would call icpx, and fail
    assert find_compiler({}, {}.get) is None


def test_autocast() -> None:
    assert check_autocast([GPU], {}).status == "ok"
    assert "use float16" in check_autocast([GPU, OLD], {"amx": True}).verdict
    assert "(amx)" in check_autocast([], {"avx512_bf16": False, "amx": True}).verdict
    assert check_autocast([], {"amx": False}).status == check_autocast([], {}).status == "limited"


def test_distributed() -> None:
    assert check_distributed({"gloo": True, "nccl": True}, 2).verdict == "nccl on 2 GPUs, gloo on CPUs"
    assert check_distributed({"gloo": True, "nccl": True}, 1).verdict == "gloo: several processes on CPUs"
    assert check_distributed({"gloo": True, "nccl": False}, 2).status == "limited"
    assert check_distributed({"gloo": False, "nccl": True}, 0).status == "missing"


@pytest.mark.parametrize("torch", [SimpleNamespace(), SimpleNamespace(cpu=None, distributed=SimpleNamespace())])
def test_a_torch_that_cannot_answer_is_no_reason_to_faint(torch: Any) -> None:
    assert cpu_features(torch) == {} and backends(torch) == {"gloo": False, "nccl": False}
    found = abilities(torch, [GPU], "3.3", False, None, Path("nowhere"))
    assert [f.part for f in found] == list(ABILITIES)
    assert "cpu and cuda" in found[0].verdict and "without its own backward" in found[1].verdict
