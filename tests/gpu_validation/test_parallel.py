"""Two processes on a CPU make the gradients and the steps of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_validation.parallel import Group
from gpu_validation.slab import Slab
from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import LandscapeState
from tests.gpu_validation.tiny import HORIZON, SEEDS, landscape, mixture

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import sys
import numpy as np
from gpu_validation.parallel import process_group
from tests.gpu_validation.test_parallel import everything
with process_group() as (group, device):
    seen = everything(group)
    np.savez(f"{sys.argv[1]}/{group.rank}.npz", world=group.world, **seen)
"""


def everything(group: Group) -> dict[str, Any]:
    """Gradients of both orders and the weights after two steps, for two seeds."""
    from gpu_validation.landscape import SupernetLandscape

    made = landscape(shards=2, precision="float64", second_order="hessian-vector", batch_norm="running")
    land = SupernetLandscape(made.settings, made.dataset, made._make, group=group)
    theta = mixture(3, 2, land).astype(np.float64)
    state: LandscapeState = land.init(SEEDS[:2], HORIZON)
    state = land.train_weights(state, theta, 2)
    loss, grad = land.loss_and_grad(state, theta)
    ahead, total = land.unrolled(state, theta, 1.0)
    parts = {name: np.asarray(value) for name, value in state.extra.items() if isinstance(value, Slab)}
    return {"loss": loss, "grad": grad, "ahead": ahead, "total": total, "meter": state.extra["meter"], **parts}


def torchrun(*arguments: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    how = ["--standalone", "--nproc-per-node", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", *how, *arguments]
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=180)


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(WORK)
    done = torchrun("work.py", str(tmp_path), tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    alone = everything(Group())
    for rank in (0, 1):
        seen = np.load(tmp_path / f"{rank}.npz")
        assert int(seen["world"]) == 2
        for name, value in alone.items():
            if name == "buffers":
                continue  # running statistics are those of the process's own last shard
            assert np.allclose(seen[name], value, rtol=1e-9, atol=1e-12), name


def test_shards_are_shared_out_evenly() -> None:
    assert [Group(r, 2).mine(4) for r in (0, 1)] == [[0, 1], [2, 3]]
    with pytest.raises(SpecError, match="3 shards cannot be shared out among 2 processes"):
        Group(0, 2).mine(3)


def test_one_shard_is_the_whole_and_two_are_normalised_apart() -> None:
    one, two = landscape(precision="float64"), landscape(precision="float64", shards=2)
    theta = mixture(1).astype(np.float64)
    a, b = (land.loss_and_grad(land.init(SEEDS, HORIZON), theta)[0] for land in (one, two))
    assert not np.allclose(a, b, rtol=1e-6)
    assert np.allclose(a, b, rtol=0.5)
