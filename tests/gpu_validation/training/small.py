"""Trainings that take milliseconds an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gpu_validation.data import load_dataset
from gpu_validation.supernets.nb201_network import NB201Network
from gpu_validation.training import TrainSpec, make_train_spec
from nasbench_sim.tables.manifest import cached_space

DATA = load_dataset("synthetic")
SPACE = cached_space("nb201")
CELL = SPACE.format(SPACE.at(9930))


def spec(**values: Any) -> TrainSpec:
    """Three epochs of four steps of a network of 3 cells of 2 channels."""
    small = {"arch": CELL, "dataset": DATA.name, "epochs": 3, "batch": 16, "channels": 2, "cells": 1, "eval_batch": 32}
    return make_train_spec(**{**small, **values})


def maker(of: TrainSpec) -> Callable[[torch.Generator], nn.Module]:
    """What builds the network of a specification."""
    sizes = {"channels": of.channels, "cells": of.cells, "classes": DATA.classes, "in_channels": DATA.channels}
    return lambda generator: NB201Network(of.arch, **sizes, generator=generator)
