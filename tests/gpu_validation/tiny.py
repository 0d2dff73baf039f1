"""A supernet that takes milliseconds a step, for the tests of what drives it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gpu_validation.data import load_dataset
from gpu_validation.landscape import SupernetLandscape
from gpu_validation.settings import SupernetSettings, make_settings
from gpu_validation.supernets import make_supernet
from nasbench_sim.landscapes import Horizon

SEEDS = np.array([5, 2**40, 11])
HORIZON = Horizon(3, 4)
DATA = load_dataset("synthetic")


def settings(**values: Any) -> SupernetSettings:
    """A network of 3 cells of 2 channels; evaluations look at few images."""
    small = {
        "channels": 2,
        "cells": 1,
        "batch": 8,
        "eval_images": 48,
        "eval_batch": 16,
        "hessian_batch": 8,
        "curvature": 0,
    }
    return make_settings(**{**small, "recalibration": 2, **values})


def landscape(**values: Any) -> SupernetLandscape:
    """A landscape of `settings(**values)` on synthetic images."""
    torch.set_num_threads(1)
    chosen = settings(**values)
    return SupernetLandscape(chosen, DATA, make_supernet(chosen, DATA))


def mixture(seed: int = 0, rows: int = 3, land: SupernetLandscape | None = None) -> np.ndarray:
    """Random points `[S, D, K]` of the simplices."""
    space = (land or landscape()).space
    theta = np.random.Generator(np.random.Philox(key=seed)).random((rows, space.D, space.K)) * space.mask
    return (theta / theta.sum(axis=-1, keepdims=True)).astype(np.float32)
