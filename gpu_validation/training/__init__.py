"""Training of single networks from scratch: what is trained, the loop, and what is kept of it."""

from gpu_validation.training.loop import Trainer
from gpu_validation.training.spec import PROTOCOLS, TrainSpec, make_network, make_train_spec

__all__ = ["PROTOCOLS", "TrainSpec", "Trainer", "make_network", "make_train_spec"]
