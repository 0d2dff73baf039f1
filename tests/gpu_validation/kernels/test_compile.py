"""Machine code for three GPUs without one: nothing spills, and tensors move 16 bytes a thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from nasbench_sim.errors import SpecError

#: 4-byte loads of gates and counts, 4-byte stores of partial sums (`st`), 8- and 4-byte ones of the pool's places
SMALL = {
    "statistics, merge": {"st4": 3},
    "statistics, 3 inputs": {"st4": 12},
    "node, 3 inputs": {"ld4": 12},
    "backward sums, 3 inputs": {"st4": 7},
    "backward convolutions, 3 inputs": {"ld4": 6},
    "backward source, 3 targets": {"ld4": 6, "st4": 6},
    "choice": {"ld4": 3, "st8": 1},
    "choice backward sums": {"st4": 4},
    "choice backward convolutions": {"ld4": 2},
    "choice backward source": {"ld4": 1, "ld8": 1, "st4": 1},
}


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """bfloat16 for all three architectures; float32, which needs more registers, for the kernels that need most.

    In a process that does not interpret.
    """
    code = (
        "import json; from gpu_validation.kernels.compile import report; "
        "print(json.dumps(report(dtypes=['bf16']) + report([90], ['fp32'], only=['node', 'backward']) + "
        "report([90], ['bf16'], channels=64, side=8, only=['backward source'])))"
    )
    cache = str(tmp_path_factory.mktemp("triton"))
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": cache}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    out: list[dict[str, Any]] = json.loads(done.stdout)
    return out


def test_every_kernel_is_compiled_for_every_architecture(rows: list[dict[str, Any]]) -> None:
    updates = {"stacked Adam", "stacked VAdam", "stacked VAdam, plain"}
    for architecture in ("sm_80", "sm_90", "sm_100"):
        found = {r["kernel"] for r in rows if r["architecture"] == architecture and r["dtype"] == "bf16"}
        assert found == set(SMALL)
        assert {r["kernel"] for r in rows if r["architecture"] == architecture} == set(SMALL) | updates
    assert all(r["cubin_bytes"] > 1000 for r in rows)


def test_nothing_spills(rows: list[dict[str, Any]]) -> None:
    assert [r for r in rows if r["spilled_bytes"] > 0] == []
    assert all(16 <= r["registers"] <= 255 and r["shared_bytes"] <= 48 * 1024 for r in rows)


def test_tensors_are_read_and_written_16_bytes_at_a_time(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["kernel"].startswith("stacked"):  # 30 numbers a search: rows of 120 bytes are multiples of 8
            assert set(row["accesses"]) <= {"ld8", "st8", "ld16", "st16"}
            continue
        small = {k: n for k, n in row["accesses"].items() if int(k[2:]) < 16}
        allowed = SMALL[row["kernel"]]
        assert set(small) == set(allowed), row
        assert all(n <= allowed[k] or k == "ld8" for k, n in small.items()), row
        assert row["accesses"].get("ld16", 0) >= 3
        if "sums" not in row["kernel"] and "statistics" not in row["kernel"]:
            assert row["accesses"].get("st16", 0) >= 1


def test_unaligned_channels_would_show() -> None:
    from gpu_validation.kernels.compile import accesses

    assert accesses("ld.global.b16 %rs1, [%rd1];\n@%p1 ld.global.L1::evict_last.v2.b32 {%r1,%r2}, [%rd1];") == {
        "ld2": 1, "ld8": 1
    }  # fmt: skip
    assert accesses("st.global.v4.b32 [%rd1], {}; st.global.v8.b32 [%rd1], {}; ld.shared.b32 %r1, [%r2];") == {
        "st16": 1, "st32": 1
    }  # fmt: skip


def test_an_interpreting_process_says_so() -> None:
    from gpu_validation.kernels.compile import report
    from tests.gpu_validation.kernels.conftest import HAS_GPU

    if HAS_GPU:
        pytest.skip("nothing is interpreted on a GPU")
    with pytest.raises(SpecError, match="TRITON_INTERPRET is on"):
        report()


def test_an_unknown_precision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu_validation.kernels import compile

    monkeypatch.setattr(compile, "interpreted", lambda: False)
    with pytest.raises(SpecError, match=r"unknown precision fp8\. Known: fp16, bf16, fp32"):
        compile.report([80], ["fp8"])
