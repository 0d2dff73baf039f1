"""What more epochs would bring `nb201-mini`: 105 of its cells trained twice for 12 and for 20 epochs, beside its own 6.

    python plots/longer_training.py    # 25 minutes of one core; needs the table nb201

Prints the table in docs/decisions.md: Kendall's tau of two trainings, and of one and of their mean with `nb201`.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import kendalltau

import nasbench_sim as nb
from gpu_validation.data import load_dataset
from gpu_validation.stacks.run import members
from gpu_validation.stacks.trainer import train_stack
from gpu_validation.training import make_train_spec
from nasbench_sim.tables import Key

DATA, EPOCHS, STACKS = "fashion-mini", (12, 20), 9
RECIPE = {"channels": 2, "cells": 1, "batch": 64, "lr": 0.1, "eval_batch": 250}


def main() -> None:
    """Train and print."""
    dataset = load_dataset(DATA)
    # stacks of the classes that the table holds twice, evenly from those of 8 cells or more
    large = [m.stack.cells for m in members() if m.seed == 1 and len(m.stack.cells) >= 8]
    stacks = [large[i] for i in np.linspace(0, len(large) - 1, STACKS).astype(int)]
    cells = np.concatenate(stacks)
    mini, official = nb.open_table("nb201-mini"), nb.open_table("nb201")
    theirs = official.accuracy[official.report_keys_for("cifar10")["test"]][cells]
    found = {6: [mini.accuracy[Key(DATA, "test", 6, seed)][cells] for seed in (0, 1)]}
    for epochs in EPOCHS:
        found[epochs] = []
        for seed in (0, 1):
            spec = make_train_spec(arch="all", dataset=DATA, epochs=epochs, seed=seed, **RECIPE)
            curves = [train_stack(stack, spec, dataset).curves["test_accuracy"][:, -1] for stack in stacks]
            found[epochs].append(np.concatenate(curves))
            print(f"{epochs} epochs, seed {seed}: {len(cells)} networks", flush=True)
    for epochs, (one, two) in found.items():
        pairs = ((one, two), (one, theirs), ((one + two) / 2, theirs))
        taus = " ".join(f"{kendalltau(a, b)[0]:.2f}" for a, b in pairs)
        print(f"{epochs} epochs: tau of two trainings, of one with nb201, of their mean with nb201: {taus}")


if __name__ == "__main__":
    main()
