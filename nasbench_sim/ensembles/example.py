"""A small prediction file to try the format with: scikit-learn's digits and small MLPs. Not NAS, and no result of it.

1,797 images of 8 x 8 pixels in 10 classes: 597 train 24 networks (4 widths x 3 activations x 2 weight decays, one
training seed each), 600 are the validation and 600 the test split. The "search space" is these three decisions.
"""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np

from nasbench_sim.ensembles.predictions import Predictions
from nasbench_sim.errors import SpecError

WIDTHS = (4, 8, 16, 32)
ACTIVATIONS = ("logistic", "tanh", "relu")
WEIGHT_DECAYS = (1e-4, 1.0)
TRAIN, VALID = 597, 600
SPACE = "digits-mlp"
SOURCE = "scikit-learn MLPClassifier on load_digits: an example of the file format, not of architecture search"


def example_predictions(seed: int = 0) -> tuple[Predictions, Predictions]:
    """Predictions of the 24 networks on the validation and on the test images.

    Raises `SpecError` where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
    except ImportError as error:
        raise SpecError(
            "the example trains with scikit-learn; install it with pip install 'nasbench-sim[blackbox]'"
        ) from error
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    train, valid, test = np.split(order, [TRAIN, TRAIN + VALID])
    archs = np.array(list(itertools.product(*(range(len(o)) for o in (WIDTHS, ACTIVATIONS, WEIGHT_DECAYS)))))
    outputs: dict[str, list[np.ndarray]] = {"valid": [], "test": []}
    for width, activation, decay in archs:
        network = MLPClassifier(
            (WIDTHS[width],), activation=ACTIVATIONS[activation], alpha=WEIGHT_DECAYS[decay], learning_rate_init=0.01,
            max_iter=30, random_state=seed,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 30 epochs on purpose: members that differ
            network.fit(images[train] / 16, labels[train])
        for split, rows in (("valid", valid), ("test", test)):
            outputs[split].append(network.predict_proba(images[rows] / 16))
    seeds = np.full(len(archs), seed)
    return (
        Predictions(np.array(outputs["valid"]), labels[valid], archs, SPACE, "digits", "valid", seeds, SOURCE),
        Predictions(np.array(outputs["test"]), labels[test], archs, SPACE, "digits", "test", seeds, SOURCE),
    )


def write_example(path: Path | str) -> tuple[Path, Path]:
    """Write the validation predictions to `path` and the test ones beside it (`-test`); returns both paths.

    A file that is there is never replaced: raises `SpecError`, also for a name that does not end in .h5.
    """
    valid = Path(path)
    if valid.suffix != ".h5":
        raise SpecError(f"{valid}: give the example a name that ends in .h5")
    test = valid.with_name(f"{valid.stem}-test.h5")
    for target in (valid, test):
        if target.exists():
            raise SpecError(f"{target} exists; choose another name for the example, or remove it")
    for predictions, target in zip(example_predictions(), (valid, test), strict=True):
        predictions.save(target)
    return valid, test
